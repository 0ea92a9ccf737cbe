"""The pending arrivals that a tick requests runs for, and a line about those that wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from textwrap import shorten

import dagster as dg

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.run_failures import note_failures
from vector_pipeline.defs.runs import LOOKUP, is_active, run_keys, runs_of
from vector_pipeline.errors import counted
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.failed_arrivals import FailedArrival, failed_arrivals
from vector_pipeline.store.locks import in_progress
from vector_pipeline.store.shared.answered import last_answer

# An answer counts as newer than a failure only by this margin: the failed run itself may have had answers before it.
NEWER_SECONDS = 5.0

# The line of a tick shows this much of a reason. `status` shows all of it.
REASON_CHARACTERS = 160


@dataclass(slots=True)
class Due:
    """What a tick does with the pending arrivals."""

    keys: dict[str, str] = field(default_factory=dict)
    """Arrivals to request a run for, with the run's key."""
    waiting: list[FailedArrival] = field(default_factory=list)
    """Failed arrivals that are not requested now."""


def due_arrivals(
    connection: Connection, instance: dg.DagsterInstance, names: Names, pipeline: Pipeline, at_most: int
) -> Due:
    """The arrivals to request runs for, oldest first. At most `at_most` are queued or running at a time.

    It also records why runs failed, if they could not record it themselves.
    """
    due = Due()
    room = at_most
    answered = last_answer(connection, pipeline.client_config.bucket)
    for portion in _portions(manifest.pending_arrivals(connection)):
        runs = runs_of(instance, names, portion)
        busy = in_progress(connection, portion)
        room -= sum(is_active(of_arrival) for of_arrival in runs.values())
        idle = [arrival for arrival in portion if arrival not in busy and not is_active(runs.get(arrival, ()))]
        note_failures(instance, connection, [(arrival, runs[arrival][0]) for arrival in idle if arrival in runs])
        failed = failed_arrivals(connection, idle)
        retry = {found.arrival for found in failed if _is_to_retry(found, answered)}
        keys = run_keys(instance, runs, idle, retry)
        for arrival in list(keys)[: max(0, room - len(due.keys))]:
            due.keys[arrival] = keys[arrival]
        due.waiting += [found for found in failed if found.arrival not in due.keys]
    return due


def _portions(arrivals: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(arrivals), LOOKUP):
        yield arrivals[start : start + LOOKUP]


def _is_to_retry(failed: FailedArrival, answered: datetime | None) -> bool:
    if failed.failure == "passing":
        return failed.is_due
    newer = answered is not None and answered > failed.failed_at + timedelta(seconds=NEWER_SECONDS)
    return failed.failure == "account" and newer


def waiting_line(waiting: Sequence[FailedArrival], cron: str, names: Names) -> str:
    """A line about waiting files: '10 files of 2 failed arrivals are pending (…), next try 03:00 UTC …'."""
    files = sum(found.files for found in waiting)
    reasons = Counter(found.error for found in waiting)
    shown = "; ".join(shorten(reason, REASON_CHARACTERS, placeholder=" …") for reason, _ in reasons.most_common(2))
    more = f"; and {counted(len(reasons) - 2, 'other reason')}" if len(reasons) > 2 else ""
    passing = [found.retry_at for found in waiting if found.failure == "passing"]
    times = [f"{min(passing).astimezone(UTC):%H:%M} UTC"] if passing else []
    if len(passing) < len(waiting):
        times.append(f"{at_night(cron)} by {names.of('backfill_schedule')}")
    return (
        f"{counted(files, 'file')} of {counted(len(waiting), 'failed arrival')} {'is' if files == 1 else 'are'} pending "
        f"({shown}{more}), next try {' and '.join(times)}, or now: {_by_hand(names)}"
    )


def _by_hand(names: Names) -> str:
    """What a person can do at once. In a project the command line needs to know the component's settings first."""
    if not names.prefix:
        return "`vector-pipeline ingest`"
    return f"materialize {names.asset('documents').to_user_string()} to document_rows of these arrivals"


def at_night(cron: str) -> str:
    """The time of a cron line: '03:00 UTC' if it is once a day, else the line itself."""
    fields = cron.split()
    if fields[2:] == ["*", "*", "*"] and fields[0].isdigit() and fields[1].isdigit():
        return f"{int(fields[1]):02d}:{int(fields[0]):02d} UTC"
    return f"at '{cron}' (UTC)"
