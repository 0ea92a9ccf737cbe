"""What an `ingest` loads and reports where the API fails for some of its texts, or stops answering."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vector_pipeline.local.ingest import IngestReport, ingest
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve
from vector_pipeline_tests.support.proxy import proxy_to


@contextmanager
def opened(tmp_path: Path, url: str, server: RunningServer, **values: Any) -> Iterator[Pipeline]:
    settings = Settings.of(
        home=tmp_path / "home", database_url=url, openai_base_url=server.url, openai_api_key="sk-test", **values
    )
    with open_pipeline(settings) as pipeline:
        yield pipeline


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Six files of one chunk each."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for n in range(6):
        (folder / f"note {n}.txt").write_text(f"Note {n} is about the garden.")
    return folder


def load(pipeline: Pipeline, folder: Path) -> IngestReport:
    return ingest(pipeline, [str(folder)])


@pytest.mark.parametrize("model", ["text-embedding-3-small", "somebodys/own-model"])
def test_one_text_that_a_server_fails_for_keeps_no_other_file_from_being_loaded(
    tmp_path: Path, fresh_database_url: str, notes: Path, model: str
) -> None:
    (notes / "a bad one.txt").write_text("A note with poison in it.")
    with (
        serve(ServerConfig(model=model, poison_word="poison")) as server,
        opened(tmp_path, fresh_database_url, server, model=model, retry_seconds=5.0) as pipeline,
    ):
        report = load(pipeline, notes)
    assert (report.loaded, report.pending, report.failures) == (6, 0, [])
    assert list(report.rejected) == ["a bad one.txt"]
    assert "unsupported value: NaN" in report.rejected["a bad one.txt"]


def test_a_run_that_fails_has_loaded_the_files_whose_vectors_are_there(
    tmp_path: Path, fresh_database_url: str, notes: Path
) -> None:
    with (
        serve(ServerConfig(quota_after=4)) as server,
        opened(tmp_path, fresh_database_url, server, max_inputs_per_request=1) as pipeline,
    ):
        report = load(pipeline, notes)
        assert sum(server.seen.billed.values()) == 4
        assert "no quota left" in report.failures[0]
        assert (report.loaded, report.rows, report.pending) == (4, 4, 2)
        assert (report.embedded, report.tokens) == (4, server.seen.tokens)
        assert report.usd == pytest.approx(server.seen.tokens * 0.02 / 1_000_000)
    with serve() as server, opened(tmp_path, fresh_database_url, server, max_inputs_per_request=1) as pipeline:
        report = load(pipeline, notes)
        assert (report.loaded, report.embedded, report.pending, report.failures) == (2, 2, 0, [])


def test_what_was_paid_is_reported_though_postgres_went_away_for_good(
    tmp_path: Path, fresh_database_url: str, notes: Path
) -> None:
    with (
        serve(ServerConfig(latency=1.0)) as server,
        proxy_to(fresh_database_url) as proxy,
        opened(tmp_path, proxy.url, server, retry_seconds=1.0) as pipeline,
        ThreadPoolExecutor(1) as pool,
    ):
        run = pool.submit(load, pipeline, notes)
        server.wait_for_requests(1)
        with proxy.away():
            report = run.result()
        assert (report.requests, report.embedded, report.loaded) == (1, 6, 0)
        assert any("does not answer" in failure for failure in report.failures)
        again = load(pipeline, notes)
        assert (again.requests, again.loaded, again.failures) == (0, 6, [])


def test_what_was_paid_is_reported_though_nothing_of_dagsters_can_be_written(
    tmp_path: Path, fresh_database_url: str, notes: Path
) -> None:
    said: list[str] = []
    with (
        serve(ServerConfig(latency=1.0)) as server,
        opened(tmp_path, fresh_database_url, server) as pipeline,
        ThreadPoolExecutor(1) as pool,
    ):
        run = pool.submit(ingest, pipeline, [str(notes)], say=said.append)
        server.wait_for_requests(1)
        for path in (tmp_path / "home/dagster/history").rglob("*.db"):
            with sqlite3.connect(path) as connection:
                for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                    connection.execute(
                        f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'full'); END"
                    )
        with pytest.raises(Exception, match="full"):
            run.result()
    assert [line for line in said if line.startswith("paid until then: 6 texts, ")]
