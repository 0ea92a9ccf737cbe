"""The reason why a run failed, from its events in Dagster, if the run could not record it in Postgres itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast, get_args

import dagster as dg

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.failed_arrivals import Failure, fail_attempt, failed_arrivals

ENDED = "a person ended the run; what was paid for is kept"
BEFORE_ITS_FIRST_STEP = "failed before its first step; see the run in the UI"


def reason_of(events: Iterable[dg.DagsterEvent]) -> tuple[str, Failure]:
    """The reason of the first failed step, with the step's name, and the kind of failure.

    A run without a failed step could not begin: Postgres or its process was away, which may pass.
    """
    for event in events:
        data = event.step_failure_data
        described = data.user_failure_data
        if described is not None and described.description:
            kind = described.metadata.get("kind")
            value = kind.value if kind is not None else None
            return (
                f"{event.step_key}: {described.description}",
                cast(Failure, value) if value in get_args(Failure) else "other",
            )
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return f"{event.step_key}: {' '.join(error.message.split())[:500]}", "other"
    return BEFORE_ITS_FIRST_STEP, "passing"


def note_failures(
    instance: dg.DagsterInstance, connection: Connection, last_runs: Sequence[tuple[str, dg.DagsterRun]]
) -> None:
    """Record why the last run of each arrival failed, if it could not record that itself. `last_runs` are by arrival."""
    ended = {
        arrival: run
        for arrival, run in last_runs
        if run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    }
    noted = {found.failed_run for found in failed_arrivals(connection, list(ended))} if ended else set()
    for arrival, run in ended.items():
        if run.run_id in noted:
            continue
        if run.status is dg.DagsterRunStatus.CANCELED:
            fail_attempt(connection, arrival, ENDED, "other", run=run.run_id)
            continue
        records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
        events = [record.event_log_entry.dagster_event for record in records]
        reason, kind = reason_of(event for event in events if event is not None)
        fail_attempt(connection, arrival, reason, kind, run=run.run_id)
