"""What the ticks of sensors and schedules share: one line for an error, previews, and runs that scan."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import fsspec
import pytest
from dagster._daemon.sensor import MIN_INTERVAL_LOOP_TIME
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.opening import Opening, TickLimits
from vector_pipeline.defs.resources import NoSource
from vector_pipeline.defs.ticks import (
    PREVIEW,
    TickFailed,
    is_preview,
    looking,
    needs_scan_run,
    notice_seconds,
    pause_after,
    preview,
    request_scan,
    scan_in_tick,
    summary,
)
from vector_pipeline.errors import SourceError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.sources.base import Source
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import ScanResult
from vector_pipeline_tests.support.corpus import own


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str, corpus: Path) -> Settings:
    return Settings.of(home=tmp_path / "home", database_url=fresh_database_url, source=str(corpus), quiet_seconds=0)


@pytest.fixture
def ephemeral() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def test_an_error_of_postgres_fails_the_tick_in_one_line(pipeline: Pipeline) -> None:
    opening = Opening(pipeline.settings, pipeline)
    with pytest.raises(TickFailed) as failed, looking(opening, "test") as (_, connection):
        connection.execute("SELECT *\nFROM no_table")
    assert "no_table" in str(failed.value)
    assert "\n" not in str(failed.value)
    # Dagster would show the traceback of a cause.
    assert (failed.value.__cause__, failed.value.__suppress_context__) == (None, True)


def test_an_error_of_the_source_fails_the_tick_and_a_mistake_of_ours_stays_what_it_is(pipeline: Pipeline) -> None:
    opening = Opening(pipeline.settings, pipeline)
    with pytest.raises(TickFailed, match=r"^the share is not mounted$"), looking(opening, "test"):
        raise SourceError("the share is not mounted")
    with pytest.raises(NoSource), looking(opening, "test"):
        raise NoSource("there is none yet")
    with pytest.raises(ZeroDivisionError), looking(opening, "test"):
        raise ZeroDivisionError


@pytest.mark.parametrize(("key", "is_one"), [(None, True), (["sensor", "12345"], False)])
def test_a_tick_without_a_log_of_its_own_is_a_preview(
    ephemeral: dg.DagsterInstance, key: list[str] | None, is_one: bool
) -> None:
    """The webserver evaluates a preview without a key for its log; the daemon's key ends with the id of the tick."""
    with (
        dg.SensorEvaluationContext(
            instance_ref=None,
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=None,
            log_key=key,
            repository_name="texts",
            sensor_name="source_files_sensor",
            instance=ephemeral,
        ) as sensor,
        dg.ScheduleEvaluationContext(
            instance_ref=None,
            scheduled_execution_time=datetime(2026, 11, 27, tzinfo=UTC),
            repository_name="texts",
            schedule_name="backfill_schedule",
            log_key=key,
            resources={},
            repository_def=None,
        ) as schedule,
    ):
        assert is_preview(schedule) == is_one
        # Only with a repository does a sensor's context make a log.
        assert is_preview(sensor) in (is_one, False)


def test_a_preview_counts_what_is_pending(pipeline: Pipeline) -> None:
    with pipeline.database.connect() as connection:
        own(connection, "A1", ["a.txt", "b.txt"])
        own(connection, "A2", ["c.txt"])
        assert preview(connection).skip_message == f"{PREVIEW}3 files of 2 arrivals"


@pytest.fixture
def remote() -> Source:
    fsspec.filesystem("memory").pipe("/ticks/a.txt", b"A text.")
    return open_source("memory://ticks")


def test_a_change_is_seen_after_two_ticks_or_two_runs_that_scan(corpus: Path, remote: Source) -> None:
    limits = TickLimits(interval_seconds=10, scan_every_seconds=100.0)
    assert notice_seconds(open_source(str(corpus)), None, limits) == 20.0
    assert notice_seconds(remote, None, limits) == 200.0


def test_the_daemon_evaluates_the_sensor_whenever_it_looks(settings: Settings) -> None:
    sensor = build_definitions(settings).resolve_sensor_def("source_files_sensor")
    assert sensor.minimum_interval_seconds is not None
    assert sensor.minimum_interval_seconds < MIN_INTERVAL_LOOP_TIME


@given(st.floats(0, 1e6))
def test_scans_take_no_more_than_their_share_of_the_time(seconds: float) -> None:
    limits = TickLimits(interval_seconds=10, scan_share=0.1, slow_for_seconds=1_000.0)
    pause = pause_after(seconds, limits)
    assert 0.0 <= pause <= limits.slow_for_seconds
    assert pause == limits.slow_for_seconds or seconds <= limits.scan_share * (limits.interval_seconds + pause) + 1e-6


def test_a_small_folder_is_scanned_in_the_tick_from_its_first_scan_on(pipeline: Pipeline) -> None:
    with pipeline.database.connect() as connection:
        assert needs_scan_run(connection, pipeline, TickLimits())
        found = scan_in_tick(connection, pipeline, TickLimits(), "sensor")
        assert [result.new for result in found.results or ()] == [3]
        assert not needs_scan_run(connection, pipeline, TickLimits())


@pytest.mark.parametrize(
    ("limits", "by_run", "remote"),
    [
        (TickLimits(files_per_tick=3), False, False),
        (TickLimits(files_per_tick=2), True, False),
        (TickLimits(scan_seconds=0.0), True, True),
    ],
)
def test_a_source_that_is_large_or_was_slow_is_left_to_a_run(
    pipeline: Pipeline, limits: TickLimits, by_run: bool, remote: bool
) -> None:
    with pipeline.database.connect() as connection:
        scan_in_tick(connection, pipeline, TickLimits(), "sensor")
        assert needs_scan_run(connection, pipeline, limits) == by_run
        found = scan_in_tick(connection, pipeline, limits, "sensor", remote=remote)
        assert (found.results is None) == by_run


def test_a_remote_store_is_scanned_in_a_tick_only_where_that_is_wanted_and_its_size_known(
    settings: Settings, pipeline: Pipeline, remote: Source
) -> None:
    remotely = Pipeline(settings.model_copy(update={"source": remote.root}), pipeline.database)
    with pipeline.database.connect() as connection:
        for wanted in (False, True):
            assert scan_in_tick(connection, remotely, TickLimits(), "sensor", remote=wanted).results is None
        own(connection, "20261127T000000Z-001", ["a.txt"])
        connection.execute("UPDATE source_files SET root = %s", (remote.root,))
        assert scan_in_tick(connection, remotely, TickLimits(), "sensor").results is None
        found = scan_in_tick(connection, remotely, TickLimits(), "sensor", remote=True).results
        assert found is not None
        assert [result.root for result in found] == [remote.root]


def test_one_run_scans_at_a_time_and_the_next_follows_later(settings: Settings, ephemeral: dg.DagsterInstance) -> None:
    definitions = build_definitions(settings.model_copy(update={"name": "law"}))
    names = Names("law")
    line, request = request_scan(ephemeral, names, {"vector_pipeline/trigger": "sensor"}, 120.0)
    assert request is not None
    assert (request.job_name, request.tags["vector_pipeline/trigger"]) == ("law_scan", "sensor")
    assert "a run of law_scan lists it" in line
    job = definitions.resolve_job_def("law_scan")
    run = ephemeral.create_run_for_job(job, run_config=request.run_config, status=dg.DagsterRunStatus.STARTED)
    assert request_scan(ephemeral, names, {}, 0.0) == ("a run of law_scan is listing the source", None)
    ephemeral.report_run_canceled(run)
    line, none = request_scan(ephemeral, names, {}, 120.0)
    assert none is None
    assert "the next follows after 120.0 s" in line
    again = request_scan(ephemeral, names, {}, 0.001)[1]
    assert again is not None
    assert again.run_key != request.run_key


def test_the_line_of_a_tick_ends_with_what_a_person_has_to_decide() -> None:
    quiet, withheld = ScanResult("/one", new=2), ScanResult("/other", unchanged=1, withheld=12)
    assert summary([quiet]) == "2 new"
    found = summary([quiet, withheld])
    assert found.startswith("2 new; 1 unchanged. 12 files are missing from '/other'")
    assert "--confirm-deletions" in found
