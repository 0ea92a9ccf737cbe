"""Disk and table held side by side: what differs is named, what is on its way is not held against anybody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.queries.compare import SHOWN, Comparison, compare
from vector_pipeline.sources.base import ListedFile, PassedOver
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import scan
from vector_pipeline.store.connection import Database


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_000, 1_000))


@pytest.fixture
def folder(tmp_path: Path, database: Database) -> Path:
    """Five files that the manifest holds as loaded."""
    root = tmp_path / "corpus"
    for name in ("a.txt", "a/b.txt", "a/c.txt", "김치.txt", "z.txt"):
        write(root, name, f"the text of {name}")
    scan(database, open_source(str(root)), ScanOptions())
    with database.connect() as connection:
        connection.execute("UPDATE source_files SET status = 'loaded'")
    return root


def held(database: Database, folder: Path, quiet_seconds: float = 0.0) -> Comparison:
    return compare(database, open_source(str(folder)), quiet_seconds=quiet_seconds)


def test_what_was_loaded_is_the_same(database: Database, folder: Path) -> None:
    found = held(database, folder)
    assert (found.same, found.differs) == (5, 0)


def test_each_kind_of_difference_is_named(database: Database, folder: Path) -> None:
    write(folder, "a/new.txt", "new")
    write(folder, "a/b.txt", "this one is another now")
    (folder / "김치.txt").unlink()
    found = held(database, folder)
    assert [(item.path, item.kind) for item in found.differences] == [
        ("a/b.txt", "changed"),
        ("a/new.txt", "missing"),
        ("김치.txt", "deleted"),
    ]
    assert (found.same, found.missing, found.deleted, found.changed) == (3, 1, 1, 1)


def test_nothing_is_written(database: Database, folder: Path) -> None:
    write(folder, "a/new.txt", "new")
    held(database, folder)
    with database.connect() as connection:
        files = connection.execute("SELECT count(*) FROM source_files").fetchone()
        arrivals = connection.execute("SELECT count(*) FROM arrivals").fetchone()
    assert (files, arrivals) == ((5,), (1,))


def test_pending_and_just_changed_files_are_no_difference(database: Database, folder: Path) -> None:
    (folder / "fresh.txt").write_text("still being written")
    write(folder, "registered.txt", "its arrival is on the way")
    scan(database, open_source(str(folder)), ScanOptions(quiet_seconds=60))
    found = held(database, folder, quiet_seconds=60)
    assert (found.same, found.pending, found.waiting, found.differs) == (5, 1, 1, 0)
    assert held(database, folder).missing == 1


class Shut(LocalSource):
    """A source whose folder `a` cannot be entered, for whoever runs the tests."""

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[ListedFile | PassedOver]:
        for listed in super().walk(wanted):
            if listed.path == "a.txt":
                yield listed
                yield PassedOver("a", "folder cannot be entered", hides_files=True)
            elif not listed.path.startswith("a/"):
                yield listed


def test_files_in_a_folder_that_cannot_be_entered_are_not_called_deleted(database: Database, folder: Path) -> None:
    found = compare(database, Shut(str(folder.resolve())))
    assert (found.same, found.differs, found.passed_over) == (3, 0, 1)


def test_differences_beyond_those_shown_are_counted(database: Database, folder: Path) -> None:
    for number in range(SHOWN + 4):
        write(folder, f"more/{number}.txt", "more")
    found = held(database, folder)
    assert (found.missing, len(found.differences)) == (SHOWN + 4, SHOWN)
