"""What a tick of `source_files_sensor` asks for, and what it leaves to others."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.opening import ORDINARY, TickLimits
from vector_pipeline.defs.runs import TRIES
from vector_pipeline.defs.sensors import Cursor
from vector_pipeline.defs.ticks import TickFailed
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.store import manifest
from vector_pipeline.store.failed_arrivals import Failure, fail_attempt, failed_arrivals
from vector_pipeline.store.run_locks import RunLocks
from vector_pipeline.store.shared.answered import note_answer


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str, corpus: Path) -> Settings:
    for path in corpus.iterdir():
        os.utime(path, (1_000, 1_000))
    return Settings.of(
        home=tmp_path / "home", database_url=fresh_database_url, source=str(corpus), max_files_per_arrival=2
    )


def tick(
    pipeline: Pipeline, instance: dg.DagsterInstance, cursor: str | None = None, limits: TickLimits = ORDINARY
) -> dg.SensorResult | dg.SkipReason:
    if limits.scan_share == ORDINARY.scan_share:
        # However busy the machine is, the next tick scans again.
        limits = replace(limits, scan_share=1.0)
    sensor = build_definitions(pipeline.settings, opened=pipeline, ticks=limits).resolve_sensor_def(
        "source_files_sensor"
    )
    found = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def line(pipeline: Pipeline, instance: dg.DagsterInstance, limits: TickLimits = ORDINARY) -> str:
    """The line of a tick that has nothing to do, after one that gave the UI what is new."""
    first = tick(pipeline, instance, limits=limits)
    assert isinstance(first, dg.SensorResult)
    assert not first.run_requests
    found = tick(pipeline, instance, first.cursor, limits)
    assert isinstance(found, dg.SkipReason)
    return found.skip_message or ""


def requests(pipeline: Pipeline, instance: dg.DagsterInstance, limits: TickLimits = ORDINARY) -> list[dg.RunRequest]:
    found = tick(pipeline, instance, limits=limits)
    return list(found.run_requests or []) if isinstance(found, dg.SensorResult) else []


def launch(pipeline: Pipeline, instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.DagsterRun:
    """The run of a request as the daemon creates it, about to start."""
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def(request.job_name or "")
    partition = {"dagster/partition": request.partition_key} if request.partition_key else {}
    return instance.create_run_for_job(
        job, tags={**request.tags, **partition}, run_config=request.run_config, status=dg.DagsterRunStatus.STARTING
    )


def test_new_files_are_registered_and_asked_for(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    found = requests(pipeline, instance)
    assert [request.job_name for request in found] == ["ingest", "ingest"]
    assert all(request.run_key == request.partition_key for request in found)
    assert [r.partition_key for r in found] == instance.get_dynamic_partitions("arrivals")
    assert found[0].tags["vector_pipeline/trigger"] == "sensor"


def test_what_is_queued_or_held_is_not_asked_for_again(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    first, second = requests(pipeline, instance)
    launch(pipeline, instance, first)
    with RunLocks(pipeline.database, "other run") as locks:
        locks.hold_arrival(second.partition_key or "")
        assert line(pipeline, instance) == "3 unchanged"


def test_a_run_that_failed_of_itself_is_left_to_the_schedule(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    first, _ = requests(pipeline, instance)
    with pipeline.database.connect() as connection:
        connection.execute("ALTER TABLE chunk_sections RENAME TO elsewhere")
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("ingest")
    done = job.execute_in_process(instance=instance, partition_key=first.partition_key, raise_on_error=False)
    assert not done.success
    assert first.partition_key not in [request.partition_key for request in requests(pipeline, instance)]


def test_a_run_that_died_is_asked_for_again_but_not_for_ever(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    keys = set()
    for _ in range(5):
        (request,) = [r for r in requests(pipeline, instance) if str(r.partition_key).endswith("-001")]
        keys.add(request.run_key)
        instance.report_run_failed(launch(pipeline, instance, request))
    assert len(keys) == 5
    assert [r for r in requests(pipeline, instance) if str(r.partition_key).endswith("-001")] == []


def test_arrivals_behind_many_failed_ones_are_asked_for(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    one = TickLimits(runs_per_tick=1)
    (first,) = requests(pipeline, instance, one)
    for _ in range(5):
        instance.report_run_failed(launch(pipeline, instance, first))
    (second,) = requests(pipeline, instance, one)
    assert second.partition_key != first.partition_key


def test_a_first_scan_comes_in_portions_and_deletes_nothing_meanwhile(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    seen = []
    for _ in range(3):
        for request in requests(pipeline, instance, TickLimits(runs_per_tick=1)):
            launch(pipeline, instance, request)
        with pipeline.database.connect() as connection:
            seen.append(manifest.count_files(connection).pending)
    assert seen == [2, 3, 3]


def test_a_large_source_is_scanned_by_one_run_at_a_time(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    for request in requests(pipeline, instance):
        launch(pipeline, instance, request)
    few = TickLimits(files_per_tick=2)
    (corpus / "tea.txt").write_text("Green tea wants water of seventy degrees.")
    os.utime(corpus / "tea.txt", (1_000, 1_000))
    (corpus / "fresh.txt").write_text("Still being written.")

    (scan,) = requests(pipeline, instance, few)
    assert (scan.job_name, scan.partition_key) == ("scan", None)
    run = launch(pipeline, instance, scan)
    assert line(pipeline, instance, few) == "a run of scan is listing the source"

    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("scan")
    done = job.execute_in_process(instance=instance, run_config=scan.run_config)
    assert done.success
    (event,) = done.get_asset_materialization_events()
    assert event.materialization.metadata["new"].value == 1
    assert event.materialization.metadata["waiting"].value == 1
    instance.report_run_canceled(run)
    assert {request.job_name for request in requests(pipeline, instance, few)} == {"ingest"}  # it was listed just now
    soon = TickLimits(files_per_tick=2, scan_every_seconds=0.001)
    assert {request.job_name for request in requests(pipeline, instance, soon)} == {"scan", "ingest"}


def test_a_slow_listing_is_broken_off_and_left_to_runs_for_a_while(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    slow = tick(pipeline, instance, limits=TickLimits(scan_seconds=0.0))
    assert isinstance(slow, dg.SensorResult)
    assert [request.job_name for request in slow.run_requests or []] == ["scan"]
    still = tick(pipeline, instance, slow.cursor)
    assert isinstance(still, dg.SensorResult)
    assert [request.job_name for request in still.run_requests or []] == ["scan"]
    again = tick(pipeline, instance, "1.0")
    assert isinstance(again, dg.SensorResult)
    assert {request.job_name for request in again.run_requests or []} == {"ingest"}


def test_a_remote_source_is_never_listed_by_the_tick(
    settings: Settings, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    remote = settings.model_copy(update={"source": "memory://sensor/corpus"})
    with open_pipeline(remote) as pipeline:
        (scan,) = requests(pipeline, instance)
    assert scan.job_name == "scan"
    assert (scan.run_key or "").startswith("scan ")


def test_a_source_that_is_away_fails_the_tick_with_the_reason(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    corpus.rename(corpus.with_name("elsewhere"))
    with pytest.raises(TickFailed, match="does not exist"):
        tick(pipeline, instance)


def test_a_source_that_is_away_stops_no_other_and_then_fails_the_tick(
    settings: Settings, instance: dg.DagsterInstance, corpus: Path
) -> None:
    both = Settings.of(home=settings.home, database_url=settings.database_url, source=["/mnt/away", str(corpus)])
    with open_pipeline(both) as pipeline:
        first = tick(pipeline, instance)
        assert isinstance(first, dg.SensorResult)
        assert first.run_requests
        for request in first.run_requests:
            launch(pipeline, instance, request)
        with pytest.raises(TickFailed, match="'/mnt/away' does not exist"):
            tick(pipeline, instance, first.cursor)


def test_postgres_that_is_away_fails_the_tick_with_the_reason(settings: Settings, instance: dg.DagsterInstance) -> None:
    away = Settings.of(home=settings.home, source=settings.source, database_url="postgresql://nobody@127.0.0.1:9/texts")
    sensor = build_definitions(away).resolve_sensor_def("source_files_sensor")
    with pytest.raises(TickFailed, match="does not answer") as failed:
        sensor(dg.build_sensor_context(instance=instance))
    assert "\n" not in str(failed.value)


def test_without_any_source_there_is_nothing_to_do_yet(settings: Settings, instance: dg.DagsterInstance) -> None:
    with open_pipeline(settings.model_copy(update={"source": None})) as pipeline:
        skipped = tick(pipeline, instance)
    assert isinstance(skipped, dg.SkipReason)
    assert "nothing was ingested yet" in (skipped.skip_message or "")


def test_a_run_whose_process_is_gone_is_failed_and_its_arrival_asked_for_again(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    """A scan, an index or an arrival must not wait for ever for what `kill -9` left at "started"."""
    first, second = requests(pipeline, instance)
    dead, alive = launch(pipeline, instance, first), launch(pipeline, instance, second)
    index = instance.create_run_for_job(
        build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("index"),
        status=dg.DagsterRunStatus.STARTING,
    )
    for run in (dead, alive, index):
        instance.handle_run_event(run.run_id, dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name))
    with RunLocks(pipeline.database, "test") as locks:
        locks.hold_run(alive.run_id)
        settled = TickLimits(settle_seconds=0.0)
        assert requests(pipeline, instance, settled) == []  # they may be about to say that they are alive
        (request,) = requests(pipeline, instance, TickLimits(start_seconds=-1.0, settle_seconds=0.0))
    assert request.partition_key == first.partition_key
    assert _statuses(instance, dead, alive, index) == ["FAILURE", "STARTED", "FAILURE"]


@pytest.mark.parametrize("clock_ahead", [-660.0, 660.0])
def test_a_run_is_lost_by_the_clock_of_the_sensor_whatever_that_of_its_machine_says(
    pipeline: Pipeline, instance: dg.DagsterInstance, clock_ahead: float
) -> None:
    first, _ = requests(pipeline, instance)
    run = launch(pipeline, instance, first)
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
    instance.run_storage.handle_run_event(
        run.run_id, event, update_timestamp=datetime.now(UTC) + timedelta(seconds=clock_ahead)
    )
    limits = TickLimits(start_seconds=0.5, settle_seconds=0.0)
    looked = tick(pipeline, instance, limits=limits)
    assert _statuses(instance, run) == ["STARTED"]  # it may be about to take its lock
    time.sleep(0.5)
    tick(pipeline, instance, looked.cursor if isinstance(looked, dg.SensorResult) else None, limits)
    assert _statuses(instance, run) == ["FAILURE"]


def _statuses(instance: dg.DagsterInstance, *runs: dg.DagsterRun) -> list[str]:
    found = [instance.get_run_by_id(run.run_id) for run in runs]
    return [run.status.value for run in found if run]


def test_the_ui_gets_what_is_true_now_once_and_red_checks_where_loads_fail(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    first = tick(pipeline, instance)
    assert isinstance(first, dg.SensorResult)
    checks = {event.check_name: event for event in first.asset_events if isinstance(event, dg.AssetCheckEvaluation)}
    assert checks["all_files_loaded"].passed  # they are on their way
    assert checks["all_files_loaded"].asset_key == dg.AssetKey("source_files")
    for request in first.run_requests or []:
        launch(pipeline, instance, request)
    with pipeline.database.connect() as connection:
        fail_attempt(connection, str((first.run_requests or [])[0].partition_key), "the key is refused", "account")
    second = tick(pipeline, instance, first.cursor)
    assert isinstance(second, dg.SensorResult)
    (now,) = [event for event in second.asset_events if isinstance(event, dg.AssetObservation)]
    assert now.metadata["files_pending"].value == 3
    checks = {event.check_name: event for event in second.asset_events if isinstance(event, dg.AssetCheckEvaluation)}
    red = checks["all_files_loaded"]
    assert (red.passed, red.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert red.description == "0 files loaded, 3 pending (2 of them failed), 0 rejected"
    assert isinstance(tick(pipeline, instance, second.cursor), dg.SkipReason)  # nothing has changed since


def _failed(pipeline: Pipeline, instance: dg.DagsterInstance, failure: Failure) -> str:
    """An arrival of two files whose only run failed in such a way; the other arrival is on its way."""
    first, second = requests(pipeline, instance)
    launch(pipeline, instance, second)
    run = launch(pipeline, instance, first)
    instance.report_run_failed(run)
    arrival = str(first.partition_key)
    with pipeline.database.connect() as connection:
        fail_attempt(connection, arrival, "it went wrong", failure, run=run.run_id)
    for _ in range(TRIES - 1):  # what died so often is not requested again for that
        instance.report_run_failed(launch(pipeline, instance, first))
        with pipeline.database.connect() as connection:
            newest = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": arrival}), limit=1)[0]
            fail_attempt(connection, arrival, "it went wrong", failure, run=newest.run_id)
    return arrival


def _sql(pipeline: Pipeline, query: str) -> None:
    with pipeline.database.connect() as connection:
        connection.execute(query.encode())


def test_what_may_pass_is_tried_again_soon_and_then_less_often(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    arrival = _failed(pipeline, instance, "passing")
    assert "2 files of 1 failed arrival are pending (it went wrong), next try " in line(pipeline, instance)
    _sql(pipeline, "UPDATE arrivals SET retry_at = now() WHERE failure = 'passing'")
    (again,) = requests(pipeline, instance)
    assert again.partition_key == arrival
    assert str(again.run_key).startswith(f"{arrival} after ")
    delays = []
    with pipeline.database.connect() as connection:
        for attempts in (1, 2, 3, 12):
            connection.execute("UPDATE arrivals SET attempts = %s WHERE key = %s", (attempts, arrival))
            fail_attempt(connection, arrival, "it went wrong", "passing")
            (found,) = failed_arrivals(connection, [arrival])
            delays.append(round((found.retry_at - found.failed_at).total_seconds() / 60))
    assert delays == [1, 2, 4, 60]


def test_what_a_person_must_fix_waits_until_the_api_answers_again(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    arrival = _failed(pipeline, instance, "account")
    said = line(pipeline, instance)
    assert "next try 03:00 UTC by backfill_schedule, or now: `vector-pipeline ingest`" in said
    _sql(pipeline, "UPDATE arrivals SET failed_at = now() - interval '1 minute', retry_at = now() + interval '1 day'")
    assert requests(pipeline, instance) == []
    with pipeline.database.connect() as connection:
        note_answer(connection, pipeline.client_config.bucket)
    (again,) = requests(pipeline, instance)
    assert again.partition_key == arrival


def test_other_failures_are_left_to_the_schedule(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    _failed(pipeline, instance, "other")
    with pipeline.database.connect() as connection:
        note_answer(connection, pipeline.client_config.bucket)
    _sql(pipeline, "UPDATE arrivals SET failed_at = now() - interval '1 minute', retry_at = now()")
    assert requests(pipeline, instance) == []


def test_a_run_that_could_not_note_why_it_failed_is_asked_afterwards(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    """Postgres may be away when a run fails, and a run that a person ends notes nothing."""
    first, second = requests(pipeline, instance)
    launch(pipeline, instance, second)
    instance.report_run_canceled(launch(pipeline, instance, first))
    requests(pipeline, instance)
    with pipeline.database.connect() as connection:
        pending = manifest.files_with_status(connection, "pending", arrival=str(first.partition_key))
    assert {file.error for file in pending} == {"a person ended the run; what was paid for is kept"}


def test_a_preview_of_a_tick_writes_nothing(
    pipeline: Pipeline, instance: dg.DagsterInstance, settings: Settings
) -> None:
    definitions = build_definitions(pipeline.settings, opened=pipeline)
    repository = definitions.get_repository_def()
    sensor = definitions.resolve_sensor_def("source_files_sensor")
    with dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(),
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        log_key=None,  # as the webserver evaluates a preview
        repository_name=repository.name,
        repository_def=repository,
        sensor_name=sensor.name,
        instance=instance,
    ) as context:
        found = sensor(context)
    assert isinstance(found, dg.SkipReason)
    assert (found.skip_message or "").endswith("Pending now: 0 files of 0 arrivals")
    with pipeline.database.connect() as connection:
        assert manifest.pending_arrivals(connection) == []
    assert instance.get_dynamic_partitions("arrivals") == []


def test_after_a_scan_that_took_long_some_ticks_do_not_scan(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    rarely = replace(ORDINARY, scan_share=1e-6)
    first = tick(pipeline, instance, limits=rarely)
    assert isinstance(first, dg.SensorResult)
    (corpus / "new.txt").write_text("A new file.")
    os.utime(corpus / "new.txt", (1_000, 1_000))
    second = tick(pipeline, instance, first.cursor, rarely)
    assert isinstance(second, dg.SensorResult)
    # What the first tick registered has no run yet.
    assert [r.run_key for r in second.run_requests or ()] == [r.run_key for r in first.run_requests or ()]
    third = tick(pipeline, instance, Cursor.read(first.cursor).model_copy(update={"scan_after": 1.0}).model_dump_json())
    assert isinstance(third, dg.SensorResult)
    assert len(third.run_requests or ()) > len(first.run_requests or ())


@pytest.mark.parametrize(("linger_seconds", "requested"), [(10.0, 3), (0.0, 2)])
def test_a_file_that_is_quiet_in_a_moment_is_not_left_to_the_next_tick(
    settings: Settings, instance: dg.DagsterInstance, corpus: Path, linger_seconds: float, requested: int
) -> None:
    settings = settings.model_copy(update={"quiet_seconds": 5.0, "max_files_per_arrival": 2})
    (corpus / "new.txt").write_text("It was written a moment ago.")
    with open_pipeline(settings) as pipeline:
        assert len(requests(pipeline, instance, replace(ORDINARY, linger_seconds=linger_seconds))) == requested
