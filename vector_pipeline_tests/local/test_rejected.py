"""What becomes of a rejected file: who does what its reason says finds it loaded, and until then nothing is green."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vector_pipeline.local.ingest import IngestReport, ingest
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.store import manifest
from vector_pipeline_tests.support.openai_server import ServerConfig, serve

TEXT = "The ferry leaves at noon. "
RECORDS = "\n".join(json.dumps({"id": 1, "key": n, "text": TEXT}) for n in range(2))


@contextmanager
def under(settings: Settings, **others: Any) -> Iterator[Pipeline]:
    with open_pipeline(Settings.of(**{**settings.model_dump(by_alias=False, exclude_unset=True), **others})) as opened:
        yield opened


def ingested(settings: Settings, folder: Path, **others: Any) -> IngestReport:
    with under(settings, **others) as pipeline:
        return ingest(pipeline, [str(folder)])


@pytest.mark.parametrize(
    ("name", "content", "before", "advised"),
    [
        ("a.csv", f"id,body\n1,{TEXT}\n".encode(), {}, {"text_field": "body"}),
        ("a.tsv", f"id\tbody\n1\t{TEXT}\n".encode(), {}, {"text_field": "body"}),
        ("a.jsonl", json.dumps({"body": TEXT}).encode(), {}, {"text_field": "body"}),
        ("a.json", json.dumps([{"body": TEXT}]).encode(), {}, {"text_field": "body"}),
        ("a.jsonl", RECORDS.encode(), {}, {"id_field": "key"}),
        ("a.txt", TEXT.encode() * 9, {"max_file_bytes": 100}, {"max_file_bytes": 1_000}),
        ("a.txt.gz", gzip.compress(TEXT.encode() * 9, mtime=0), {"max_file_bytes": 100}, {"max_file_bytes": 1_000}),
    ],
)
def test_a_file_is_loaded_once_the_setting_is_as_its_reason_says(
    settings: Settings, tmp_path: Path, name: str, content: bytes, before: dict[str, Any], advised: dict[str, Any]
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / name).write_bytes(content)
    (reason,) = ingested(settings, folder, **before).rejected.values()
    (setting,) = advised
    assert f"VECTOR_PIPELINE_{setting.upper()}" in reason
    report = ingested(settings, folder, **advised)
    assert (report.loaded, report.rejected, report.failures) == (1, {}, [])


def test_a_file_is_loaded_once_its_chunks_are_as_small_as_the_server_takes(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.txt").write_text(" ".join(f"word{n}" for n in range(300)))
    with serve(ServerConfig(max_tokens_per_input=100)) as server:
        ours = {"openai_base_url": server.url, "openai_api_key": "sk-test"}
        assert list(ingested(settings, folder, **ours).rejected) == ["a.txt"]
        report = ingested(settings, folder, chunk_tokens=80, **ours)
    assert (report.loaded, report.rejected) == (1, {})


def test_a_file_whose_text_the_server_refused_is_tried_again_after_a_day(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.txt").write_text(f"poison {TEXT}")
    (folder / "b.txt").write_text(TEXT)
    with serve(ServerConfig(poison_word="poison", poison="filter")) as server:
        ours = {"openai_base_url": server.url, "openai_api_key": "sk-test"}
        refused = ingested(settings, folder, **ours).rejected
        assert list(refused) == ["a.txt"]
    with serve() as server:
        ours = {"openai_base_url": server.url, "openai_api_key": "sk-test"}
        report = ingested(settings, folder, **ours)
        assert (report.loaded, report.rejected_earlier, server.seen.requests) == (0, refused, 0)
        with under(settings) as pipeline, pipeline.database.connect() as connection:
            connection.execute("UPDATE rejected_texts SET rejected_at = rejected_at - interval '1 day'")
            connection.execute("UPDATE source_files SET updated_at = updated_at - interval '1 day'")
        report = ingested(settings, folder, **ours)
    assert (report.loaded, report.rejected, report.rejected_earlier) == (1, {}, {})


def test_a_rejected_file_is_no_reason_to_be_green_until_it_is_loaded(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.csv").write_text(f"id,body\n1,{TEXT}\n")
    (folder / "b.txt").write_text(TEXT)
    first = ingested(settings, folder)
    again = ingested(settings, folder)
    assert (again.arrivals, again.rejected, again.rejected_earlier) == (0, {}, first.rejected)
    os.utime(folder / "a.csv", (1, 1))
    assert ingested(settings, folder).rejected_earlier == first.rejected
    (folder / "a.csv").write_text(f"id,text\n1,{TEXT}\n")
    report = ingested(settings, folder)
    assert (report.loaded, report.rejected, report.rejected_earlier) == (1, {}, {})


def test_what_was_rejected_by_an_earlier_version_or_for_want_of_a_right_is_looked_at_again(
    settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.csv").write_text(f"id,body\n1,{TEXT}\n")
    ingested(settings, folder)
    with under(settings) as pipeline, pipeline.database.connect() as connection:
        prints = pipeline.fingerprints
        assert manifest.mark_stale_pending(connection, prints.current, rejecting=prints.rejecting) == 0
        connection.execute("UPDATE source_files SET pipeline = NULL")
        assert manifest.mark_stale_pending(connection, prints.current, rejecting=prints.rejecting) == 1
        (file,) = [f for a in manifest.pending_arrivals(connection) for f in manifest.owned_files(connection, a)]
        (arrival,) = manifest.pending_arrivals(connection)
        reasons = {(file.source_key, file.fingerprint): "may not be read"}
        manifest.reject_files(connection, arrival, reasons, until="next")
        manifest.note_rejections(connection, arrival, prints.rejecting)
        assert manifest.mark_stale_pending(connection, prints.current, rejecting=prints.rejecting) == 1


def test_a_file_that_could_not_be_read_for_a_while_and_then_is_as_it_was_is_loaded(
    settings: Settings, tmp_path: Path
) -> None:
    """Its bytes are those that were loaded; its rejection was none of theirs."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT * 9)
    assert ingested(settings, folder).loaded == 1
    os.utime(folder / "a.txt", (1, 1))
    (folder / "a.txt").write_text(TEXT * 99)
    assert list(ingested(settings, folder, max_file_bytes=1_000).rejected) == ["a.txt"]
    (folder / "a.txt").write_text(TEXT * 9)
    report = ingested(settings, folder, max_file_bytes=1_000)
    assert (report.loaded, report.rejected) == (1, {})
