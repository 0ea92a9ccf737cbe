"""What a tick of `backfill_schedule` asks for: everything that is not as it should be, oldest first, in a budget."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg
import fsspec
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.opening import ORDINARY, TickLimits
from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.instance import open_instance
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.store.shared import spending
from vector_pipeline_tests.support.openai_server import serve
from vector_pipeline_tests.support.pipelines import Ingest

SPEND_UNTIL = "vector_pipeline/spend_until_usd"


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str, corpus: Path) -> Settings:
    for path in corpus.iterdir():
        os.utime(path, (1_000, 1_000))
    return Settings.of(home=tmp_path / "home", database_url=fresh_database_url, source=str(corpus))


def tick(
    pipeline: Pipeline, instance: dg.DagsterInstance, limits: TickLimits = ORDINARY
) -> list[dg.RunRequest] | dg.SkipReason:
    schedule = build_definitions(pipeline.settings, opened=pipeline, ticks=limits).resolve_schedule_def(
        "backfill_schedule"
    )
    found = schedule(dg.build_schedule_context(instance=instance))
    assert isinstance(found, list | dg.SkipReason)
    return found


def requests(pipeline: Pipeline, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    found = tick(pipeline, instance)
    assert isinstance(found, list), found
    return found


def execute(pipeline: Pipeline, instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("ingest")
    done = job.execute_in_process(
        instance=instance, partition_key=request.partition_key, tags=request.tags, raise_on_error=False
    )
    return done.success


def files(pipeline: Pipeline) -> dict[str, int]:
    found = read_status(pipeline)["files"]
    assert isinstance(found, dict)
    return found


def test_nothing_to_do_says_so(pipeline: Pipeline, instance: dg.DagsterInstance, run: Ingest, corpus: Path) -> None:
    run(corpus)
    skipped = tick(pipeline, instance)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "nothing is pending, failed or stale (3 unchanged)"


def test_new_changed_and_deleted_files_are_found_without_the_sensor(
    pipeline: Pipeline, instance: dg.DagsterInstance, run: Ingest, corpus: Path
) -> None:
    run(corpus)
    (corpus / "tea.txt").write_text("Green tea wants water of seventy degrees.")
    (corpus / "bees.txt").write_text("The bees have moved away.")
    (corpus / "bread.md").unlink()
    for path in corpus.iterdir():
        os.utime(path, (2_000, 2_000))
    (request,) = requests(pipeline, instance)
    assert execute(pipeline, instance, request)
    assert files(pipeline) == {"loaded": 3, "pending": 0, "rejected": 0, "deleted": 1}
    assert isinstance(tick(pipeline, instance), dg.SkipReason)


def test_a_rejected_file_is_taken_up_once_it_is_mended(
    pipeline: Pipeline, instance: dg.DagsterInstance, run: Ingest, corpus: Path
) -> None:
    (corpus / "facts.jsonl").write_text('{"text": "Salt dissolves."}\n{"text": ')
    assert list(run(corpus).rejected) == ["facts.jsonl"]
    assert isinstance(tick(pipeline, instance), dg.SkipReason)
    (corpus / "facts.jsonl").write_text('{"text": "Salt dissolves."}\n{"text": "Sand does not."}\n')
    os.utime(corpus / "facts.jsonl", (3_000, 3_000))
    (request,) = requests(pipeline, instance)
    assert execute(pipeline, instance, request)
    assert files(pipeline)["rejected"] == 0


def test_what_failed_runs_again_oldest_first_and_what_is_under_way_does_not(
    tmp_path: Path, fresh_database_url: str, corpus: Path
) -> None:
    settings = Settings.of(
        home=tmp_path / "home", database_url=fresh_database_url, source=str(corpus), max_files_per_arrival=1
    )
    for path in corpus.iterdir():
        os.utime(path, (1_000, 1_000))
    with open_pipeline(settings) as pipeline, open_instance(settings) as instance:
        first, second, third = requests(pipeline, instance)
        keys = [str(request.partition_key) for request in (first, second, third)]
        assert keys == sorted(keys)
        with pipeline.database.connect() as connection:
            connection.execute("ALTER TABLE chunk_sections RENAME TO elsewhere")
            assert not execute(pipeline, instance, first)
            connection.execute("ALTER TABLE elsewhere RENAME TO chunk_sections")
        job = build_definitions(settings, opened=pipeline).resolve_job_def("ingest")
        instance.create_run_for_job(job, tags={"dagster/partition": keys[1]}, status=dg.DagsterRunStatus.STARTING)
        assert [request.partition_key for request in requests(pipeline, instance)] == [keys[0], keys[2]]


def test_files_loaded_by_other_rules_are_loaded_again(
    pipeline: Pipeline, instance: dg.DagsterInstance, run: Ingest, corpus: Path, settings: Settings
) -> None:
    run(corpus)
    with open_pipeline(settings.model_copy(update={"chunk_tokens": 8})) as other:
        (request,) = requests(other, instance)
        assert execute(other, instance, request)
        with other.database.connect() as connection:
            row = connection.execute("SELECT max(token_count) FROM document_chunks").fetchone()
    assert row is not None
    assert row[0] <= 8


def test_a_night_spends_no_more_than_its_budget(
    tmp_path: Path, fresh_database_url: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (corpus / f"{number}.txt").write_text(f"note {number} " + "word " * 20)
    with serve() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        settings = Settings.from_environment(
            home=tmp_path / "home",
            database_url=fresh_database_url,
            source=str(corpus),
            max_files_per_arrival=1,
            quiet_seconds=0.0,
            backfill_max_cost_usd=60.0,
            usd_per_million_tokens=1_000_000.0,  # a dollar a token
        )
        with open_pipeline(settings) as pipeline, open_instance(settings) as instance:
            with pipeline.database.connect() as connection:
                spending.record(connection, "text-embedding-3-small", 500.0, 500)
            asked = requests(pipeline, instance)
            assert {float(request.tags[SPEND_UNTIL]) for request in asked} == {560.0}
            assert all([execute(pipeline, instance, request) for request in asked])
            with pipeline.database.connect() as connection:
                spent = spending.spent_today(connection)
            assert 500.0 < spent <= 560.0
            assert files(pipeline)["pending"] > 0
            # The next night goes on; by hand there is no such limit.
            assert float(requests(pipeline, instance)[0].tags[SPEND_UNTIL]) == pytest.approx(spent + 60.0)
            ingest(pipeline, [str(corpus)], instance=instance)
            assert files(pipeline) == {"loaded": 7, "pending": 0, "rejected": 0, "deleted": 0}


def scan_tick(
    pipeline: Pipeline, instance: dg.DagsterInstance, limits: TickLimits = ORDINARY
) -> dg.RunRequest | dg.SkipReason:
    schedule = build_definitions(pipeline.settings, opened=pipeline, ticks=limits).resolve_schedule_def("scan_schedule")
    found = schedule(dg.build_schedule_context(instance=instance))
    assert isinstance(found, dg.RunRequest | dg.SkipReason)
    return found


def scanned(
    pipeline: Pipeline, instance: dg.DagsterInstance, tags: Mapping[str, str], config: Mapping[str, object]
) -> list[dg.RunRequest]:
    """What follows a run of `scan` with such tags."""
    definitions = build_definitions(pipeline.settings, opened=pipeline)
    job = definitions.resolve_job_def("scan")
    done = job.execute_in_process(instance=instance, run_config=config, tags=tags)
    assert done.success
    context = dg.build_run_status_sensor_context(
        "backfill_sensor",
        dagster_instance=instance,
        dagster_run=done.dagster_run,
        dagster_event=done.get_run_success_event(),
    )
    found = definitions.resolve_sensor_def("backfill_sensor")(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return list(found.run_requests or []) if isinstance(found, dg.SensorResult) else []


@pytest.mark.parametrize("why", ["remote and new", "large", "slow"])
def test_what_is_too_much_to_list_in_a_tick_is_listed_by_a_run_and_then_loaded(
    settings: Settings, instance: dg.DagsterInstance, corpus: Path, why: str
) -> None:
    limits = TickLimits(scan_every_seconds=0.001)
    settings = settings.model_copy(update={"backfill_max_cost_usd": 5.0})
    if why == "remote and new":
        store = fsspec.filesystem("memory")
        store.pipe("/schedule/new/tea.txt", b"Green tea wants water of seventy degrees.")
        settings = settings.model_copy(update={"source": "memory://schedule/new", "quiet_seconds": 0.0})
    with open_pipeline(settings) as pipeline:
        if why != "remote and new":
            ingest(pipeline, [str(corpus)], instance=instance)
            assert isinstance(scan_tick(pipeline, instance), dg.SkipReason)
            (corpus / "tea.txt").write_text("Green tea wants water of seventy degrees.")
            os.utime(corpus / "tea.txt", (1_000, 1_000))
        if why == "large":
            limits = replace(limits, files_per_tick=2)
        if why == "slow":
            limits = replace(limits, scan_seconds=0.0)
        skipped = tick(pipeline, instance, limits)
        assert isinstance(skipped, dg.SkipReason)
        assert "scan_schedule lists it" in (skipped.skip_message or "")

        request = scan_tick(pipeline, instance, limits)
        assert isinstance(request, dg.RunRequest)
        assert scanned(pipeline, instance, {}, request.run_config) == []  # that of the sensor, which loads it
        (asked,) = scanned(pipeline, instance, request.tags, request.run_config)
        assert asked.tags["vector_pipeline/trigger"] == "schedule"
        assert float(asked.tags[SPEND_UNTIL]) == 5.0
        assert execute(pipeline, instance, asked)
        assert files(pipeline)["pending"] == 0
        if why == "remote and new":
            # Now its size is known, and the tick itself lists it.
            assert isinstance(scan_tick(pipeline, instance), dg.SkipReason)


def test_a_slow_listing_that_never_came_to_its_end_is_left_to_a_run(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    slow = TickLimits(scan_seconds=0.0)
    tick(pipeline, instance, slow)
    assert files(pipeline)["pending"] == 0
    request = scan_tick(pipeline, instance, slow)
    assert isinstance(request, dg.RunRequest)
    (asked,) = scanned(pipeline, instance, request.tags, request.run_config)
    assert execute(pipeline, instance, asked)
    assert files(pipeline)["loaded"] == 3
    # From now on it is known to be slow, and the tick does not even begin.
    skipped = tick(pipeline, instance, slow)
    assert isinstance(skipped, dg.SkipReason)
    assert "scan_schedule lists it" in (skipped.skip_message or "")
