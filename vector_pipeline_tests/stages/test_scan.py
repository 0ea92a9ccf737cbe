"""What a scan tells of the files that it leaves out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.queries.forget import forget_root
from vector_pipeline.sources.base import ListedFile, PassedOver
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import scan
from vector_pipeline.store.connection import Database
from vector_pipeline.store.locks import lock_scan
from vector_pipeline.store.scans import LastScan, last_scans


def test_every_file_of_the_folder_is_in_its_account(database: Database, tmp_path: Path) -> None:
    for name in ("a.txt", "b.md", "c.PSD", "d.psd", "e.png", "README", ".hidden.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "out.txt").symlink_to("/etc/hostname")
    found = scan(database, open_source(str(tmp_path)), ScanOptions())
    assert (found.new, len(found.passed_over), found.other_kinds.total()) == (2, 1, 4)
    assert found.other_kinds == {".psd": 2, ".png": 1, "without suffix": 1}
    assert str(found).startswith("2 new, 1 passed over, 4 of kinds that are not read (2 .psd, 1 .png, 1 without suffix)")


def test_a_scan_that_waits_for_another_says_so(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    source = open_source(str(tmp_path))
    said: list[str] = []
    with database.connect() as other, ThreadPoolExecutor(1) as pool:
        lock_scan(other, source.root)
        second = pool.submit(scan, database, source, ScanOptions(), log=said.append)
        while not said:
            assert not second.done()
            time.sleep(0.01)
        other.close()
        assert second.result().new == 1
    assert said == [f"another scan of {source.root} is under way; waiting for its end"]


def test_an_ignore_file_that_cannot_be_read_stops_only_its_folder(database: Database, tmp_path: Path) -> None:
    """Whoever may write in one folder must not hold up the source."""
    for name in ("a.txt", "sub/b.txt", "sub/deep/c.txt", "z/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    source = open_source(str(tmp_path))
    assert scan(database, source, ScanOptions()).new == 4
    os.mkfifo(tmp_path / "sub/.vectorignore")
    (tmp_path / "z/e.txt").write_text("x")
    found = scan(database, source, ScanOptions())
    assert (found.new, found.deleted, found.unchanged) == (1, 0, 2)
    ((path, reason),) = [(item.path, item.reason) for item in found.passed_over]
    assert path == "sub"
    assert "'sub/.vectorignore'" in reason
    assert "remove it" in reason
    (tmp_path / "sub/.vectorignore").unlink()
    assert scan(database, source, ScanOptions()).unchanged == 5


def test_what_was_left_out_is_kept_until_the_next_scan_or_the_root_is_forgotten(
    database: Database, tmp_path: Path
) -> None:
    bad_name = b"x.\xff\xfe".decode(errors="surrogateescape")
    for name in ("읽기.txt", "b.md", "c.psd", bad_name):
        (tmp_path / name).write_text("x")
    (tmp_path / "out.txt").symlink_to("/etc/hostname")
    os.utime(tmp_path / "b.md", (1, 1))
    source = open_source(str(tmp_path))
    scan(database, source, ScanOptions(quiet_seconds=1_000))
    found = kept(database)
    assert found.root == str(tmp_path)
    assert (found.withheld, found.waiting, found.passed_over) == (0, 1, 1)
    assert [path for path, _ in found.names] == ["out.txt", "읽기.txt"]
    assert found.not_read == {".psd": 1, ".\\xff\\xfe": 1}

    (tmp_path / "out.txt").unlink()
    (tmp_path / "c.psd").unlink()
    scan(database, source, ScanOptions(max_seconds=0.0))
    assert kept(database) == found  # it did not see all of the source
    scan(database, source, ScanOptions())
    found = kept(database)
    assert (found.waiting, found.passed_over, found.names) == (0, 0, [])

    forget_root(database, str(tmp_path))
    with database.connect() as connection:
        assert last_scans(connection) == []


def test_a_kind_whose_reader_is_not_installed_is_named_with_the_way_to_it_and_not_taken_for_deleted(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pdf").write_text("x")
    source = open_source(str(tmp_path))
    assert scan(database, source, ScanOptions()).new == 1
    # Python's own way to say that a module is not there.
    monkeypatch.setitem(sys.modules, "pdf_inspector", None)
    (tmp_path / "b.pdf").write_text("x")
    (tmp_path / "c.psd").write_text("x")
    found = scan(database, source, ScanOptions())
    assert (found.new, found.deleted, found.unchanged) == (0, 0, 1)
    assert "2 of kinds that are not read" in str(found)
    assert "; `pip install 'vector-pipeline[documents]'` reads 1 of them" in str(found)
    assert [tuple(entry) for entry in kept(database).names] == [
        ("b.pdf", "is read after `pip install 'vector-pipeline[documents]'`")
    ]
    monkeypatch.undo()
    assert scan(database, source, ScanOptions()).new == 1


def kept(database: Database) -> LastScan:
    with database.connect() as connection:
        (found,) = last_scans(connection)
    return found


def test_a_source_of_few_files_may_lose_them_all_and_a_larger_one_not(database: Database, tmp_path: Path) -> None:
    for count in (10, 11):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.txt").write_text("x")
        source = open_source(str(folder))
        scan(database, source, ScanOptions())
        for path in folder.iterdir():
            path.unlink()
        gone = scan(database, source, ScanOptions())
        assert (gone.deleted, gone.withheld) == ((10, 0) if count == 10 else (0, 11))
        assert (gone.warning is not None) == (count == 11)
        with database.connect() as connection:
            assert [found.withheld for found in last_scans(connection) if found.root == str(folder)] == [gone.withheld]


def test_half_may_go_and_more_must_be_confirmed(database: Database, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text("x")
    source = open_source(str(tmp_path))
    scan(database, source, ScanOptions())
    for number in range(10):
        (tmp_path / f"{number:02}.txt").unlink()
    assert scan(database, source, ScanOptions(max_deleted_share=0.4)).withheld == 10
    assert scan(database, source, ScanOptions(max_deleted_share=0.5)).deleted == 10
    for path in tmp_path.iterdir():
        path.unlink()
    assert scan(database, source, ScanOptions(max_deleted_share=0.0, confirm_deletions=True)).deleted == 10


def test_a_file_of_the_future_is_loaded_at_once_and_an_edit_of_it_seen(database: Database, tmp_path: Path) -> None:
    """Archives, cameras and machines with a wrong clock leave such files; nobody waits for that day."""
    path = tmp_path / "a.txt"
    ahead = time.time() + 300 * 86_400
    path.write_text("one")
    os.utime(path, (ahead, ahead))
    source = open_source(str(tmp_path))
    assert scan(database, source, ScanOptions()).new == 1
    path.write_text("another")
    os.utime(path, (ahead, ahead))
    found = scan(database, source, ScanOptions())
    assert (found.changed, found.waiting) == (1, 0)
    # The sensor waits for quiet, of which the file system's own clock tells.
    path.write_text("a third")
    os.utime(path, (ahead, ahead))
    assert scan(database, source, ScanOptions(quiet_seconds=0.5)).waiting == 1
    time.sleep(0.6)
    assert scan(database, source, ScanOptions(quiet_seconds=0.5)).changed == 1


@dataclass(frozen=True)
class Ahead:
    """A store whose clock is ahead of ours, and which says nothing of what a file holds."""

    size: int = 1
    by: float = 86_400.0
    root: str = "ahead://root"
    reads_cheaply: bool = False

    def walk(self, _: object) -> Iterator[ListedFile | PassedOver]:
        yield ListedFile("a.txt", self.size, f"{self.size}", time.time() + self.by)

    def open(self, path: str) -> BinaryIO:
        raise FileNotFoundError(path)

    def fingerprint(self, path: str, opened: BinaryIO | None = None) -> str:
        raise FileNotFoundError(path)


@pytest.mark.slow
def test_where_a_stores_clock_is_ahead_two_scans_decide_what_is_quiet(database: Database) -> None:
    options = ScanOptions(quiet_seconds=0.3)
    assert scan(database, Ahead(), options).waiting == 1
    assert scan(database, Ahead(), options).waiting == 1  # the same look, too soon
    time.sleep(0.4)
    assert scan(database, Ahead(2), options).waiting == 1  # it was written meanwhile
    time.sleep(0.4)
    assert scan(database, Ahead(2), options).new == 1
    load_all(database)
    # It looks as new as ever, and is not loaded again and again for that.
    for quiet in (0.0, 0.3):
        assert scan(database, Ahead(2), ScanOptions(quiet_seconds=quiet)).unchanged == 1
    # Once its time has come for our clock too, it is read once more: a change may have left the same times.
    assert scan(database, Ahead(2, by=-60.0), ScanOptions()).changed == 1
    load_all(database)
    assert scan(database, Ahead(2, by=-60.0), ScanOptions()).unchanged == 1


def load_all(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("UPDATE source_files SET status = 'loaded'")
