"""A folder of awful files through the whole pipeline: each ends loaded or rejected, and none stops the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.search import search
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.awful_files import MAX_FILE_BYTES, awful_files, mended, write
from vector_pipeline_tests.support.pipelines import Ingest


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str) -> Settings:
    return Settings.of(home=tmp_path / "home", database_url=fresh_database_url, max_file_bytes=MAX_FILE_BYTES)


def test_every_awful_file_is_loaded_or_rejected_with_its_reason(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    files = awful_files(length=50_000)
    # Embedding the rows of this one takes longer than all the others, and shows nothing about them.
    files = [file for file in files if file.name != "late.csv"]
    write(corpus, files)
    good = {"bees.txt", "bread.md", "김치.txt"}
    rejected = {file.name: file.reason for file in files if file.reason}
    report = run(corpus)

    assert report.rejected.keys() == rejected.keys()
    assert (report.failures, report.pending) == ([], 0)
    assert report.loaded == len(files) - len(rejected) + len(good)
    status = read_status(pipeline)
    reasons = {entry["source"]: entry["error"] for entry in status["rejected"]}
    assert not {name: reasons.get(name) for name, reason in rejected.items() if reason not in reasons.get(name, "")}
    assert (status["files"]["pending"], status["files"]["rejected"]) == (0, len(rejected))
    assert search(pipeline, "baking bread", 1)[0].source == "bread.md"
    assert search(pipeline, "honey bees on the roof", 1)[0].source == "bees.txt"
    with pipeline.database.connect() as connection:
        stored = dict(connection.execute("SELECT path, encoding FROM source_files WHERE status = 'loaded'").fetchall())
        texts: dict[str, str] = {}
        for path, text in connection.execute("SELECT source, page_content FROM chunks ORDER BY chunk_index"):
            texts[path] = texts.get(path, "") + text
    loaded = [file for file in files if not file.reason]
    assert not [file.name for file in loaded if file.holds.split()[0] not in texts[file.name]]
    assert (stored["cp949.txt"], stored["cp949.jsonl"], stored["euc-kr.html"]) == ("cp949", "cp949", "cp949")

    for file in files:
        if file.reason:
            (corpus / file.name).write_bytes(mended(file))
    report = run(corpus)
    assert (report.failures, report.rejected, report.loaded) == ([], {}, len(rejected))
    assert search(pipeline, "twice.csv was mended.", 1)[0].source == "twice.csv"
