"""Runs in Dagster's instance that no process works on, and what a person may write into a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.opening import TickLimits
from vector_pipeline.defs.runs import SPEND_UNTIL, release_abandoned, spend_until
from vector_pipeline.defs.ticks import request_scan
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.store.connection import Database


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job(name="ingest")
def job() -> None:
    """A job with the name of the pipeline's."""
    nothing()


def started(instance: dg.DagsterInstance, in_seconds: float) -> str:
    """A run whose start lies this many seconds in the future."""
    run = instance.create_run_for_job(job)
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
    instance.handle_run_event(run.run_id, event, datetime.now(UTC) + timedelta(seconds=in_seconds))
    return run.run_id


@pytest.mark.parametrize(
    ("in_seconds", "released"),
    [(-60, True), (-5, False), (60, False), (86_400, True)],
    ids=["long ago", "a moment ago", "by a clock that is ahead", "before the clock was set back"],
)
def test_a_run_that_nobody_works_on_is_released(database: Database, in_seconds: float, released: bool) -> None:
    with dg.DagsterInstance.ephemeral() as instance, database.connect() as connection:
        run = started(instance, in_seconds)
        found = release_abandoned(instance, Names(""), connection, TickLimits(settle_seconds=0.0))
        assert found == ([run] if released else [])


def test_a_scan_is_requested_though_the_last_one_lies_in_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.job(name="scan")
    def scan() -> None:
        nothing()

    with dg.DagsterInstance.ephemeral() as instance:
        _, first = request_scan(instance, Names(""), {}, 120.0)
        run = instance.create_run_for_job(scan)
        instance.report_run_failed(run)
        line, none = request_scan(instance, Names(""), {}, 120.0)
        monkeypatch.setattr("time.time", lambda: datetime.now(UTC).timestamp() - 86_400)
        _, again = request_scan(instance, Names(""), {}, 120.0)
    assert none is None
    assert "the next follows" in line
    assert first is not None
    assert again is not None
    assert first.run_key != again.run_key == f"scan after {run.run_id}"


def test_a_tag_that_a_person_wrote_is_checked() -> None:
    assert spend_until({}) is None
    assert spend_until({SPEND_UNTIL: "12.5"}) == 12.5
    for text in ("abc", "nan", "inf", "-1", ""):
        with pytest.raises(ConfigurationError, match="write a number of USD"):
            spend_until({SPEND_UNTIL: text})
