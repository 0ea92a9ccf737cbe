"""What a scan tells of the files that it leaves out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.queries.forget import forget_root
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import scan
from vector_pipeline.store.connection import Database
from vector_pipeline.store.scans import LastScan, last_scans


def test_every_file_of_the_folder_is_in_its_account(database: Database, tmp_path: Path) -> None:
    for name in ("a.txt", "b.md", "c.PSD", "d.psd", "e.png", "README", ".hidden.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "out.txt").symlink_to("/etc/hostname")
    found = scan(database, open_source(str(tmp_path)), ScanOptions())
    assert (found.new, len(found.passed_over), found.other_kinds.total()) == (2, 1, 4)
    assert found.other_kinds == {".psd": 2, ".png": 1, "without suffix": 1}
    assert str(found).startswith("2 new, 1 passed over, 4 of kinds that are not read (2 .psd, ")


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
