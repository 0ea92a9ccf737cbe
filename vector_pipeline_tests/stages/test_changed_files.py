"""A scan of the files that a watcher names: what it finds, and what it leaves to a scan of the whole source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.stages.changed_files import scan_changed
from vector_pipeline.stages.scan import ScanResult, scan
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database


@pytest.fixture
def folder(tmp_path: Path, database: Database) -> Path:
    """A scanned folder."""
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    (folder / "bees.txt").write_text("Bees make honey.")
    (folder / "deep" / "hives.txt").write_text("Hives stand on the roof.")
    scan(database, LocalSource(str(folder)), ScanOptions())
    return folder


def look(database: Database, folder: Path, *names: str) -> list[ScanResult] | None:
    return scan_changed(database, [LocalSource(str(folder))], ScanOptions(), [str(folder / name) for name in names])


def test_an_edit_and_a_new_file_are_registered_and_nothing_else_is_looked_at(database: Database, folder: Path) -> None:
    (folder / "bees.txt").write_text("Bees make wax.")
    (folder / "new.txt").write_text("A new file.")
    (folder / "deep" / "hives.txt").write_text("An edit that is not named.")
    found = look(database, folder, "bees.txt", "new.txt")
    assert found is not None
    (result,) = found
    assert (result.new, result.changed, result.unchanged, len(result.arrivals)) == (1, 1, 0, 1)
    with database.connect() as connection:
        owned = manifest.owned_files(connection, result.arrivals[0])
    assert [file.path for file in owned] == ["bees.txt", "new.txt"]


def test_a_file_that_is_what_it_was_causes_no_arrival(database: Database, folder: Path) -> None:
    found = look(database, folder, "bees.txt")
    assert found is not None
    assert [(result.unchanged, result.arrivals) for result in found] == [(1, [])]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["of_an_editor.txt~", ".hidden.txt", ".git/index", "picture.png", "gone.txt"])
def test_what_is_none_of_the_sources_files_is_passed_by(database: Database, folder: Path, name: str) -> None:
    if name == "picture.png":
        (folder / name).write_bytes(b"\x89PNG")
    found = look(database, folder, name)
    assert found is not None
    assert not any(result.arrivals for result in found)


def delete(folder: Path) -> str:
    (folder / "bees.txt").unlink()
    return "bees.txt"


def rename(folder: Path) -> str:
    (folder / "bees.txt").rename(folder / "wasps.txt")
    return "bees.txt"


def new_folder(folder: Path) -> str:
    (folder / "more").mkdir()
    return "more"


def replace_by_link(folder: Path) -> str:
    (folder / "bees.txt").unlink()
    (folder / "bees.txt").symlink_to(folder / "deep" / "hives.txt")
    return "bees.txt"


def behind_a_link(folder: Path) -> str:
    (folder / "linked").symlink_to(folder / "deep")
    return "linked/hives.txt"


def leave_out(folder: Path) -> str:
    (folder / "deep" / ".vectorignore").write_text("*.txt")
    return "deep/.vectorignore"


def elsewhere(folder: Path) -> str:
    return str(folder.parent / "elsewhere.txt")


def of_a_kind_that_is_not_read(folder: Path) -> str:
    (folder / ".vectorignore").write_text("bees.txt")
    return "bees.txt"


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [delete, rename, new_folder, replace_by_link, behind_a_link, leave_out, elsewhere, of_a_kind_that_is_not_read],
)
def test_what_takes_a_walk_is_left_to_a_scan_of_everything(
    database: Database, folder: Path, change: Callable[[Path], str]
) -> None:
    assert look(database, folder, change(folder)) is None
    with database.connect() as connection:
        assert len(manifest.pending_arrivals(connection)) == 1  # that of the first scan


def test_each_source_takes_its_own_files(database: Database, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "corpus of another"
    other.mkdir()
    (other / "bees.txt").write_text("Of another.")
    sources = [LocalSource(str(folder)), LocalSource(str(other))]
    found = scan_changed(database, sources, ScanOptions(), [str(other / "bees.txt"), str(folder / "bees.txt")])
    assert found is not None
    assert {result.root: (result.new, result.unchanged) for result in found} == {
        str(folder): (0, 1),
        str(other): (1, 0),
    }
