"""The on-call table of docs/operations.md, line by line: what turns red, and what turns it green.

The waits between the attempts are in test_sensors, and clocks are set forward here; a source that is away makes
table_matches_disk red in test_checks.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.failures import failure, kind_of
from vector_pipeline.defs.ticks import TickFailed
from vector_pipeline.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    PipelineError,
    ProviderRefused,
    ProviderUnavailable,
    QuotaExhausted,
    SourceError,
    StorageError,
)
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.search import search
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.store.failed_arrivals import failed_arrivals
from vector_pipeline_tests.support.disks import fill, small_file_system
from vector_pipeline_tests.support.openai_server import ServerConfig, serve
from vector_pipeline_tests.support.proxy import Fate, Proxy


def tick(pipeline: Pipeline, instance: dg.DagsterInstance) -> dg.SensorResult:
    sensor = build_definitions(pipeline.settings, opened=pipeline).resolve_sensor_def("source_files_sensor")
    found = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(found, dg.SensorResult)
    return found


def execute(pipeline: Pipeline, instance: dg.DagsterInstance, arrival: str) -> bool:
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("ingest")
    return job.execute_in_process(instance=instance, partition_key=arrival, raise_on_error=False).success


def checks(result: dg.SensorResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {event.check_name: event for event in result.asset_events if isinstance(event, dg.AssetCheckEvaluation)}


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ProviderRefused("no such key"), "account", "within a minute of the next answer from the API"),
        (QuotaExhausted("no money"), "account", "within a minute of the next answer from the API"),
        (DatabaseUnavailable("away"), "passing", "again by itself, soon and then less and less often"),
        (ProviderUnavailable("away"), "passing", "again by itself, soon and then less and less often"),
        (SourceError("not mounted"), "passing", "again by itself, soon and then less and less often"),
        (StorageError("disk full"), "passing", "again by itself, soon and then less and less often"),
        (ConfigurationError("wrong"), "other", "Fix it, then run `vector-pipeline ingest`"),
    ],
)
def test_each_failure_says_what_happens_next(error: PipelineError, kind: str, said: str) -> None:
    assert kind_of(error) == kind
    shown = failure(error)
    assert shown.metadata["kind"].value == kind
    assert said in str(shown.metadata["next"].value)
    assert shown.description == str(error)


def test_a_refused_key_is_red_at_once_and_taken_up_after_the_first_answer(
    tmp_path: Path, fresh_database_url: str, corpus: Path, instance: dg.DagsterInstance
) -> None:
    for path in corpus.iterdir():
        os.utime(path, (1_000, 1_000))

    def settings(key: str, url: str) -> Settings:
        return Settings.of(
            home=tmp_path / "home",
            database_url=fresh_database_url,
            source=str(corpus),
            openai_api_key=key,
            openai_base_url=url,
        )

    with serve(ServerConfig(key="sk-right")) as server:
        with open_pipeline(settings("sk-right", server.url)) as pipeline:
            (request,) = tick(pipeline, instance).run_requests or []
            assert execute(pipeline, instance, str(request.partition_key))
        (corpus / "tea.txt").write_text("Green tea wants water of seventy degrees.")
        os.utime(corpus / "tea.txt", (1_000, 1_000))
        with open_pipeline(settings("sk-wrong", server.url)) as pipeline:
            (request,) = tick(pipeline, instance).run_requests or []
            arrival = str(request.partition_key)
            assert not execute(pipeline, instance, arrival)
            red = tick(pipeline, instance)
            assert checks(red)["all_files_loaded"].severity is dg.AssetCheckSeverity.ERROR
            assert not red.run_requests
            with pipeline.database.connect() as connection:
                (failed,) = failed_arrivals(connection)
                assert failed.failure == "account"
                connection.execute("UPDATE arrivals SET failed_at = failed_at - interval '1 minute'")
            assert read_status(pipeline)["pending"][0]["error"] == failed.error
        with open_pipeline(settings("sk-right", server.url)) as pipeline:
            search(pipeline, "What is made on the roof?", 1)
            (again,) = tick(pipeline, instance).run_requests or []
            assert again.partition_key == arrival
            assert execute(pipeline, instance, arrival)
            assert checks(tick(pipeline, instance))["all_files_loaded"].passed


def settle(corpus: Path) -> None:
    """The files have not changed for a while."""
    for path in corpus.iterdir():
        os.utime(path, (1_000, 1_000))


def wait_until_it_is_due(database_url: str) -> None:
    """The time of the next attempt comes."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE arrivals SET retry_at = now()")


def turns_green(pipeline: Pipeline, instance: dg.DagsterInstance, database_url: str, arrival: str) -> None:
    """The arrival waits for its next attempt, which loads it, and the check is green."""
    waits = tick(pipeline, instance)
    assert not waits.run_requests
    red = checks(waits)["all_files_loaded"]
    assert (red.passed, red.severity) == (False, dg.AssetCheckSeverity.ERROR)
    wait_until_it_is_due(database_url)
    (again,) = tick(pipeline, instance).run_requests or []
    assert again.partition_key == arrival
    assert execute(pipeline, instance, arrival)
    assert checks(tick(pipeline, instance))["all_files_loaded"].passed
    assert read_status(pipeline)["files"] == {"loaded": 3, "pending": 0, "rejected": 0, "deleted": 0}


def test_a_used_up_quota_is_red_at_once_and_taken_up_after_the_first_answer(
    tmp_path: Path, fresh_database_url: str, corpus: Path, instance: dg.DagsterInstance
) -> None:
    settle(corpus)
    with serve(ServerConfig(quota_after=0)) as server:
        settings = Settings.of(
            home=tmp_path / "home",
            database_url=fresh_database_url,
            source=str(corpus),
            openai_api_key="sk-test",
            openai_base_url=server.url,
        )
        with open_pipeline(settings) as pipeline:
            (request,) = tick(pipeline, instance).run_requests or []
            arrival = str(request.partition_key)
            assert not execute(pipeline, instance, arrival)
            red = tick(pipeline, instance)
            assert not red.run_requests
            found = checks(red)["all_files_loaded"]
            assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
            with pipeline.database.connect() as connection:
                (failed,) = failed_arrivals(connection)
                assert failed.failure == "account"
                connection.execute("UPDATE arrivals SET failed_at = failed_at - interval '1 minute'")
            server.seen.requests = -1_000  # there is money again
            assert not tick(pipeline, instance).run_requests  # no answer has shown that yet
            search(pipeline, "What is made on the roof?", 1, mode="meaning")
            (again,) = tick(pipeline, instance).run_requests or []
            assert again.partition_key == arrival
            assert execute(pipeline, instance, arrival)
            assert checks(tick(pipeline, instance))["all_files_loaded"].passed


def test_postgres_that_goes_away_under_a_run_fails_the_ticks_until_it_is_back(
    tmp_path: Path, fresh_database_url: str, corpus: Path, instance: dg.DagsterInstance
) -> None:
    settle(corpus)
    proxy = Proxy(fresh_database_url)
    settings = Settings.of(
        home=tmp_path / "home", database_url=proxy.url, source=str(corpus), context="none", retry_seconds=1.0
    )

    def goes_away(sent: bytes) -> Fate:
        if b"COPY" not in sent:
            return "pass"
        proxy.refusing = True
        return "cut"

    with closing(proxy), open_pipeline(settings) as pipeline:
        (request,) = tick(pipeline, instance).run_requests or []
        proxy.judge = goes_away
        assert not execute(pipeline, instance, str(request.partition_key))
        proxy.cut()
        for _ in range(2):
            with pytest.raises(TickFailed, match="Postgres"):
                tick(pipeline, instance)
        proxy.judge = lambda _: "pass"
        proxy.refusing = False
        turns_green(pipeline, instance, fresh_database_url, str(request.partition_key))


def test_a_source_that_is_not_mounted_fails_ticks_and_runs_and_nothing_is_taken_for_deleted(
    tmp_path: Path, fresh_database_url: str, corpus: Path, instance: dg.DagsterInstance
) -> None:
    settle(corpus)
    settings = Settings.of(home=tmp_path / "home", database_url=fresh_database_url, source=str(corpus))
    with open_pipeline(settings) as pipeline:
        (request,) = tick(pipeline, instance).run_requests or []
        elsewhere = corpus.rename(corpus.with_name("elsewhere"))
        assert not execute(pipeline, instance, str(request.partition_key))
        (pending, *_) = read_status(pipeline)["pending"]
        assert "is not on this machine any more" in str(pending["error"])
        with pytest.raises(TickFailed, match="does not exist"):
            tick(pipeline, instance)
        elsewhere.rename(corpus)
        turns_green(pipeline, instance, fresh_database_url, str(request.partition_key))


def test_a_full_disk_fails_the_run_which_is_tried_again_once_there_is_room(
    tmp_path: Path, fresh_database_url: str, corpus: Path, instance: dg.DagsterInstance
) -> None:
    settle(corpus)
    with small_file_system(tmp_path / "disk", 1) as disk:
        settings = Settings.of(
            home=tmp_path / "home", database_url=fresh_database_url, source=str(corpus), storage=str(disk / "stages")
        )
        with open_pipeline(settings) as pipeline:
            (request,) = tick(pipeline, instance).run_requests or []
            fill(disk / "filler")
            assert not execute(pipeline, instance, str(request.partition_key))
            (disk / "filler").unlink()
            turns_green(pipeline, instance, fresh_database_url, str(request.partition_key))


def test_a_file_that_cannot_be_read_warns_and_stops_nothing(
    tmp_path: Path, fresh_database_url: str, corpus: Path, instance: dg.DagsterInstance
) -> None:
    (corpus / "facts.jsonl").write_text('{"text": "Salt dissolves."}\n{"text": ')
    for path in corpus.iterdir():
        os.utime(path, (1_000, 1_000))
    settings = Settings.of(home=tmp_path / "home", database_url=fresh_database_url, source=str(corpus))
    with open_pipeline(settings) as pipeline:
        (request,) = tick(pipeline, instance).run_requests or []
        assert execute(pipeline, instance, str(request.partition_key))
        found = checks(tick(pipeline, instance))
        for name, asset in (("no_files_rejected", "documents"), ("all_files_loaded", "source_files")):
            assert (found[name].passed, found[name].severity) == (False, dg.AssetCheckSeverity.WARN)
            assert found[name].asset_key == dg.AssetKey(asset)
        (corpus / "facts.jsonl").write_text('{"text": "Salt dissolves."}\n')
        os.utime(corpus / "facts.jsonl", (2_000, 2_000))
        (request,) = tick(pipeline, instance).run_requests or []
        assert execute(pipeline, instance, str(request.partition_key))
        assert all(check.passed for check in checks(tick(pipeline, instance)).values())
