"""The Batch API seen from Dagster: nobody waits for it, nothing is sent twice, and what came back is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.instance import open_instance
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve


@contextmanager
def opened(
    home: Path, url: str, server: RunningServer, mode: Literal["sync", "batch"], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Pipeline, dg.DagsterInstance]]:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    settings = Settings.from_environment(home=home, database_url=url, embedding_mode=mode)
    with open_pipeline(settings) as pipeline, open_instance(settings) as instance:
        yield pipeline, instance


def tick(pipeline: Pipeline, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    sensor = build_definitions(pipeline.settings, opened=pipeline).resolve_sensor_def("batches_sensor")
    found = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def execute(pipeline: Pipeline, instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def(request.job_name or "")
    return job.execute_in_process(instance=instance, partition_key=request.partition_key, tags=request.tags).success


def files(pipeline: Pipeline) -> dict[str, int]:
    found = read_status(pipeline)["files"]
    assert isinstance(found, dict)
    return found


def test_the_sensor_brings_in_what_is_answered_and_has_the_waiting_arrivals_run(
    tmp_path: Path, fresh_database_url: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serve() as server,
        opened(tmp_path / "home", fresh_database_url, server, "batch", monkeypatch) as (pipeline, instance),
    ):
        report = ingest(pipeline, [str(corpus)], instance=instance)
        assert report.loaded == 0
        assert "wait for answers of batches" in report.failures[0]

        over = tick(pipeline, instance, None)
        assert isinstance(over, dg.SensorResult)
        (request,) = over.run_requests or []
        assert request.job_name == "batches"
        assert execute(pipeline, instance, request)

        waiting = tick(pipeline, instance, None)
        assert isinstance(waiting, dg.SensorResult)
        (request,) = waiting.run_requests or []
        assert request.job_name == "ingest"
        assert execute(pipeline, instance, request)
        assert files(pipeline)["loaded"] == 3

        assert isinstance(tick(pipeline, instance, waiting.cursor), dg.SkipReason)


def test_while_a_batch_is_out_the_sensor_says_so(
    tmp_path: Path, fresh_database_url: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serve(ServerConfig(batch_seconds=3_600)) as server,
        opened(tmp_path / "home", fresh_database_url, server, "batch", monkeypatch) as (pipeline, instance),
    ):
        ingest(pipeline, [str(corpus)], instance=instance)
        skipped = tick(pipeline, instance, None)
        assert isinstance(skipped, dg.SkipReason)
        assert skipped.skip_message == "unfinished batches: 1"


def test_after_a_switch_to_sync_what_is_out_is_not_sent_again(
    tmp_path: Path, fresh_database_url: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(ServerConfig(batch_seconds=3_600)) as server:
        with opened(tmp_path / "home", fresh_database_url, server, "batch", monkeypatch) as (pipeline, instance):
            ingest(pipeline, [str(corpus)], instance=instance)
        (corpus / "new.txt").write_text("This one came after the switch.")
        with opened(tmp_path / "home", fresh_database_url, server, "sync", monkeypatch) as (pipeline, instance):
            report = ingest(pipeline, [str(corpus)], instance=instance)
            assert (report.loaded, report.pending, report.embedded) == (1, 3, 1)
            assert "wait for answers of batches" in report.failures[0]


def test_a_run_in_sync_mode_brings_in_what_a_batch_has_answered(
    tmp_path: Path, fresh_database_url: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve() as server:
        with opened(tmp_path / "home", fresh_database_url, server, "batch", monkeypatch) as (pipeline, instance):
            ingest(pipeline, [str(corpus)], instance=instance)
        with opened(tmp_path / "home", fresh_database_url, server, "sync", monkeypatch) as (pipeline, instance):
            report = ingest(pipeline, [str(corpus)], instance=instance)
            assert (report.loaded, report.embedded, report.failures) == (3, 0, [])
