"""The stage `documents`: which files of an arrival become documents, and what is recorded about the others."""

from __future__ import annotations

import gzip
import json
import os
import uuid
from pathlib import Path

import pytest

from vector_pipeline.formats.pool import ReaderLimits
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.documents import SPOOL_BYTES, DocumentsOutcome, read_arrival
from vector_pipeline.stages.scan import scan
from vector_pipeline.stages.side_by_side import hash_bytes
from vector_pipeline.stages.streams import DocumentRow
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline.text.readers import ReaderOptions
from vector_pipeline_tests.formats.made import page_of, pdf

RECORD = {"text": "Salt dissolves in water. " * 3_000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "texts"
    made.mkdir()
    return made


def arrival_of(database: Database, folder: Path) -> str:
    """Scan a folder, none of whose files was written just now; returns the arrival with what is new."""
    for path in folder.iterdir():
        os.utime(path, (1_000, 1_000))
    (arrival,) = scan(database, open_source(str(folder)), ScanOptions()).arrivals
    return arrival


def read(
    database: Database, arrival: str, options: ReaderOptions | None = None
) -> tuple[list[DocumentRow], DocumentsOutcome]:
    outcome = DocumentsOutcome()
    limits = ReaderLimits(processes=2)
    return list(read_arrival(database, arrival, options or ReaderOptions(), limits, outcome)), outcome


def states(database: Database) -> dict[str, tuple[str, str | None]]:
    """The status and the error of each file in the manifest."""
    with database.connect() as connection:
        files = manifest.files_with_status(connection, "pending", "rejected", "loaded", "deleted")
    return {file.path: (file.status, file.error) for file in files}


def test_the_documents_of_a_file_carry_what_the_manifest_knows_of_it(database: Database, folder: Path) -> None:
    (folder / "notes.jsonl").write_text('{"id": "x", "text": "One.", "page": 3}\n\n{"text": "Two."}\n{"text": ""}\n')
    arrival = arrival_of(database, folder)
    rows, outcome = read(database, arrival)
    assert [(row.document_id, row.text) for row in rows] == [("notes.jsonl#x", "One."), ("notes.jsonl#3", "Two.")]
    assert json.loads(rows[0].metadata)["page"] == 3
    with database.connect() as connection:
        (owned,) = manifest.owned_files(connection, arrival)
        (known,) = manifest.known_files(connection, str(folder))
    assert {(uuid.UUID(bytes=row.source_key), row.fingerprint) for row in rows} == {
        (owned.source_key, owned.fingerprint)
    }
    with (folder / "notes.jsonl").open("rb") as stream:
        assert known.bytes_hash == hash_bytes(stream)
    assert (outcome.files, outcome.documents, outcome.characters, outcome.records_without_text) == (1, 2, 8, 1)
    assert outcome.bytes == (folder / "notes.jsonl").stat().st_size


def test_a_rejected_file_is_named_with_its_reason_and_stops_no_other(database: Database, folder: Path) -> None:
    (folder / "a.txt").write_text("Before it.")
    (folder / "b.csv").write_text("id,bo\x1b[2Jdy\n1,one\n")
    (folder / "c.txt").write_text("After it.")
    rows, outcome = read(database, arrival_of(database, folder))
    assert [row.text for row in rows] == ["Before it.", "After it."]
    reason = outcome.rejected["b.csv"]
    assert states(database)["b.csv"] == ("rejected", reason)
    # The reason quotes the file, and what clears a terminal is shown as it is written.
    assert r"'bo\x1b[2Jdy'" in reason
    assert reason.isprintable()


@pytest.mark.parametrize("large", [False, True])
def test_a_broken_record_at_the_end_rejects_the_whole_file(database: Database, folder: Path, large: bool) -> None:
    """No document of it is passed on: rows of half a file would look like the whole."""
    records = SPOOL_BYTES // len(RECORD["text"]) + 1 if large else 3
    (folder / "a.jsonl").write_text(f"{json.dumps(RECORD)}\n" * records + '{"text": ')
    rows, outcome = read(database, arrival_of(database, folder))
    assert rows == []
    assert list(outcome.rejected) == ["a.jsonl"]
    assert f"line {records + 1}" in outcome.rejected["a.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_a_large_file_is_read_whole(database: Database, folder: Path, packed: bool) -> None:
    """It goes through a temporary file, as does a packed one, whose size says nothing of what is in it."""
    records = SPOOL_BYTES // len(RECORD["text"]) + 1
    content = "".join(json.dumps({**RECORD, "number": n}) + "\n" for n in range(records)).encode()
    (folder / ("a.jsonl.gz" if packed else "a.jsonl")).write_bytes(gzip.compress(content) if packed else content)
    rows, outcome = read(database, arrival_of(database, folder))
    assert [json.loads(row.metadata)["number"] for row in rows] == list(range(records))
    assert (outcome.files, outcome.documents) == (1, records)


def test_a_file_that_is_too_large_is_rejected_with_the_setting(database: Database, folder: Path) -> None:
    (folder / "a.txt").write_text("x" * 101)
    (folder / "b.txt").write_text("x" * 100)
    rows, outcome = read(database, arrival_of(database, folder), ReaderOptions(max_bytes=100))
    assert [row.source for row in rows] == ["b.txt"]
    assert "has 101 bytes, more than 100" in outcome.rejected["a.txt"]
    assert "VECTOR_PIPELINE_MAX_FILE_BYTES" in outcome.rejected["a.txt"]


def test_a_file_that_changed_or_vanished_since_the_scan_stays_pending(database: Database, folder: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text(f"Text of {name}")
    arrival = arrival_of(database, folder)
    (folder / "a.txt").write_text("It has another text now.")
    (folder / "b.txt").unlink()
    rows, outcome = read(database, arrival)
    assert [row.source for row in rows] == ["c.txt"]
    assert "changed while it was read" in outcome.postponed["a.txt"]
    assert "was deleted before it could be read" in outcome.postponed["b.txt"]
    assert {status for status, _ in states(database).values()} == {"pending"}
    assert outcome.rejected == {}


def test_a_file_that_changes_while_an_earlier_one_is_passed_on_is_not_read_half_old(
    database: Database, folder: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f"Text of {name}")
    arrival = arrival_of(database, folder)
    outcome = DocumentsOutcome()
    rows = read_arrival(database, arrival, ReaderOptions(), ReaderLimits(), outcome)
    assert next(rows).source == "a.txt"
    (folder / "b.txt").write_text("Text of later")
    assert list(rows) == []
    assert list(outcome.postponed) == ["b.txt"]


def test_files_stay_in_order_while_some_are_read_apart(database: Database, folder: Path) -> None:
    """PDF files are read in processes of their own, which takes longer than to read a text file."""
    for name in ("a.pdf", "c.pdf", "e.pdf"):
        (folder / name).write_bytes(pdf([page_of([f"# Chapter of {name}", "The lighthouse keeper wrote a letter."])]))
    for name in ("b.txt", "d.txt", "f.txt"):
        (folder / name).write_text("A letter.")
    (folder / "d.pdf").write_bytes(b"%PDF-1.7")
    rows, outcome = read(database, arrival_of(database, folder))
    assert [row.source for row in rows] == ["a.pdf", "b.txt", "c.pdf", "d.txt", "e.pdf", "f.txt"]
    assert list(outcome.rejected) == ["d.pdf"]
    assert states(database)["d.pdf"] == ("rejected", outcome.rejected["d.pdf"])


def test_a_file_that_is_read_apart_is_begun_while_the_one_before_it_is_still_read(
    database: Database, folder: Path
) -> None:
    """So its bytes are taken early, and it may be gone by the time that its documents are passed on."""
    for name in ("a.pdf", "c.pdf"):
        (folder / name).write_bytes(pdf([page_of([f"# Chapter of {name}", "The lighthouse keeper wrote a letter."])]))
    (folder / "b.txt").write_text("A letter.")
    arrival = arrival_of(database, folder)
    rows = read_arrival(database, arrival, ReaderOptions(), ReaderLimits(processes=2), DocumentsOutcome())
    assert next(rows).source == "a.pdf"
    (folder / "c.pdf").unlink()
    assert [row.source for row in rows] == ["b.txt", "c.pdf"]


def test_a_deleted_file_is_counted_and_not_opened(database: Database, folder: Path) -> None:
    (folder / "a.txt").write_text("A text.")
    arrival_of(database, folder)
    (folder / "a.txt").unlink()
    rows, outcome = read(database, arrival_of(database, folder))
    assert (rows, outcome.deletions, outcome.files, outcome.postponed) == ([], 1, 0, {})


def test_a_run_by_hand_reads_what_is_loaded_again_and_a_later_one_only_what_is_pending(
    database: Database, folder: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f"Text of {name}")
    arrival = arrival_of(database, folder)
    with database.connect() as connection:
        connection.execute("UPDATE source_files SET status = 'loaded'")
        assert [row.source for row in read(database, arrival)[0]] == ["a.txt", "b.txt"]
        connection.execute("UPDATE source_files SET status = 'pending' WHERE path = 'b.txt'")
    assert [row.source for row in read(database, arrival)[0]] == ["b.txt"]
