"""The arrivals that a tick requests runs for, and the line about those that wait."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.defs.arrivals import at_night, due_arrivals, waiting_line
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.runs import LOOKUP
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store.failed_arrivals import FailedArrival, Failure, fail_attempt
from vector_pipeline_tests.support.corpus import own

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
NIGHT = "0 3 * * *"
NAMES = Names()


def waits(
    files: int, error: str = "the key is refused", failure: Failure = "account", minutes: int = 0
) -> FailedArrival:
    """A failed arrival whose next attempt is so long after noon."""
    return FailedArrival("A1", files, error, failure, NOON, None, NOON + timedelta(minutes=minutes), is_due=minutes <= 0)


@pytest.mark.parametrize(
    ("waiting", "line"),
    [
        ([waits(1)], "1 file of 1 failed arrival is pending"),
        ([waits(2)], "2 files of 1 failed arrival are pending"),
        ([waits(1_000), waits(234)], "1,234 files of 2 failed arrivals are pending"),
    ],
)
def test_the_line_counts_files_and_arrivals(waiting: list[FailedArrival], line: str) -> None:
    found = waiting_line(waiting, NIGHT, NAMES)
    assert found.startswith(f"{line} (the key is refused), next try 03:00 UTC by backfill_schedule")
    assert found.endswith("or now: `vector-pipeline ingest`")


def test_the_line_names_the_next_of_several_attempts() -> None:
    passing = [waits(1, "Postgres does not answer", "passing", minutes) for minutes in (30, 5, 60)]
    assert "next try 12:05 UTC, or now" in waiting_line(passing, NIGHT, NAMES)
    assert "next try 12:05 UTC and 03:00 UTC by backfill_schedule" in waiting_line([*passing, waits(1)], NIGHT, NAMES)


def test_times_are_in_utc_wherever_postgres_is() -> None:
    seoul = timezone(timedelta(hours=9))
    found = replace(waits(1, failure="passing"), retry_at=datetime(2026, 11, 28, 0, 30, tzinfo=seoul))
    assert "next try 15:30 UTC" in waiting_line([found], NIGHT, NAMES)


def test_the_most_frequent_reasons_are_shown_and_the_others_counted() -> None:
    reasons = ["rare", *["frequent"] * 3, *["second"] * 2, "other"]
    assert "(frequent; second; and 2 other reasons)" in waiting_line(
        [waits(1, reason) for reason in reasons], NIGHT, NAMES
    )
    assert "(frequent; second)" in waiting_line([waits(1, "frequent"), waits(1, "second")], NIGHT, NAMES)


def test_a_long_reason_does_not_fill_the_page() -> None:
    assert len(waiting_line([waits(1, "x" * 5_000), waits(1, "y" * 5_000)], NIGHT, NAMES)) < 500


def test_a_reason_is_cut_between_words() -> None:
    found = waiting_line([waits(1, "does not answer " * 20)], NIGHT, NAMES)
    assert re.search(r"answer does …\), next|not answer …\), next|does not …\), next", found)


def test_in_a_project_the_line_names_what_there_is_under_the_pipeline_s_name() -> None:
    """The command line would first need the component's settings."""
    found = waiting_line([waits(1)], NIGHT, Names("handbook", ("search", "handbook")))
    assert "by handbook_backfill_schedule" in found
    assert found.endswith("or now: materialize search/handbook/documents to document_rows of these arrivals")


@given(st.integers(0, 23), st.integers(0, 59))
def test_a_time_of_each_day_is_shown_as_a_time(hour: int, minute: int) -> None:
    assert at_night(f"{minute} {hour} * * *") == f"{hour:02d}:{minute:02d} UTC"


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 3 * * 1", "0 3 1 * *", "0 3,15 * * *", "@daily", "0 0 3 * * *"])
def test_any_other_cron_line_is_shown_as_it_is(cron: str) -> None:
    assert at_night(cron) == f"at '{cron}' (UTC)"


@pytest.fixture
def ephemeral() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def test_many_arrivals_are_requested_oldest_first_up_to_the_number_for_a_tick(
    pipeline: Pipeline, ephemeral: dg.DagsterInstance
) -> None:
    """More than one query looks up: the number holds for all of them together."""
    keys = [f"20261127T0000{number:03d}Z-001" for number in range(LOOKUP + 50)]
    with pipeline.database.connect() as connection:
        for key in keys:
            own(connection, key, [f"{key}.txt"])
        few = due_arrivals(connection, ephemeral, Names(), pipeline, 3)
        assert (list(few.keys), few.waiting) == (keys[:3], [])
        many = due_arrivals(connection, ephemeral, Names(), pipeline, LOOKUP + 10)
        assert list(many.keys.items()) == [(key, key) for key in keys[: LOOKUP + 10]]


@pytest.mark.parametrize("failure", ["passing", "account", "other"])
def test_an_arrival_that_failed_without_any_run_is_still_requested(
    pipeline: Pipeline, ephemeral: dg.DagsterInstance, failure: Failure
) -> None:
    """The command line ran it in its own process, or the runs were deleted in the UI."""
    with pipeline.database.connect() as connection:
        own(connection, "A1", ["a.txt", "b.txt"])
        fail_attempt(connection, "A1", "it went wrong", failure)
        due = due_arrivals(connection, ephemeral, Names(), pipeline, 5)
        assert (due.keys, due.waiting) == ({"A1": "A1"}, [])
        none = due_arrivals(connection, ephemeral, Names(), pipeline, 0)
    assert none.keys == {}
    assert [(found.arrival, found.files) for found in none.waiting] == [("A1", 2)]
