"""Runs of a pipeline's arrivals in Dagster's instance, requested by any sensor or user."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

import dagster as dg

from vector_pipeline.defs.names import STAGES, Names
from vector_pipeline.defs.opening import ORDINARY, TickLimits
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.locks import alive

PARTITION = "dagster/partition"

TRIGGER = "vector_pipeline/trigger"
"""Tag of a run that names what requested it: sensor, schedule, batches, automation or cli; a person's run has none."""

# Named are those that are not under way, because newer versions of Dagster have more (SUSPENDED since 1.13). MANAGED is
# a run of another system.
ACTIVE = [status for status in dg.DagsterRunStatus if status.name not in ("SUCCESS", "FAILURE", "CANCELED", "MANAGED")]
"""The statuses of runs that are queued or under way."""

WILL_RETRY = "dagster/will_retry"

SPEND_UNTIL = "vector_pipeline/spend_until_usd"
"""Tag of a run that ends when the spending of all runs of all time reaches this sum in USD."""

# The clocks of two machines differ by less. A run that starts later than that was started before a clock was set back.
CLOCKS_APART_SECONDS = 3_600.0

# The number of arrivals in one query.
LOOKUP = 200

# The most runs of one arrival if each died with its process: the cause may be a file that they read.
TRIES = 5


def is_of(run: dg.DagsterRun, names: Names) -> bool:
    """Whether a run works on this pipeline's arrivals: its job, or its assets as the UI launches them."""
    ours = {names.asset(stage) for stage in STAGES}
    return run.job_name == names.of("ingest") or not ours.isdisjoint(run.asset_selection or ())


def release_abandoned(
    instance: dg.DagsterInstance, names: Names, connection: Connection, limits: TickLimits = ORDINARY
) -> list[str]:
    """Mark runs of this pipeline without a process as failed, and free their pool slots; returns their ids.

    A run is alive while it holds its lock in Postgres. Dagster's status does not show this: after a kill it stays at
    "started", and arrivals, scans and the index would wait for that run for ever. Dagster itself notices only runs that
    the daemon's own code server launched, and only while that server lives. Runs of other pipelines, which may be in
    another database, are not changed.

    The time of a start is of the clock of the machine that runs it. Who looks more than once uses
    `release_abandoned_since`.
    """
    now = time.time()
    found = _without_lock(instance, names, connection, limits)
    old = sorted(
        run
        for run, record in found.items()
        if record.start_time is not None and not -CLOCKS_APART_SECONDS < now - record.start_time <= limits.start_seconds
    )
    for run in old:
        _release(instance, found[run].dagster_run)
    return old


def release_abandoned_since(
    instance: dg.DagsterInstance,
    names: Names,
    connection: Connection,
    seen: Mapping[str, float],
    limits: TickLimits = ORDINARY,
) -> dict[str, float]:
    """Do the same for runs that had no lock at an earlier look, `limits.start_seconds` ago or more.

    `seen` is what the last look returned: the runs without a lock, and when each was first seen so (seconds since the
    epoch). So all times are of this machine's clock, and machines whose clocks differ are judged alike.
    """
    now = time.time()
    found = _without_lock(instance, names, connection, limits)
    # A time in the future is from before this clock was set back.
    since = {run: min(seen.get(run, now), now) for run in found}
    old = {run for run, first in since.items() if first <= now - limits.start_seconds}
    for run in sorted(old):
        _release(instance, found[run].dagster_run)
    return {run: first for run, first in since.items() if run not in old}


def _without_lock(
    instance: dg.DagsterInstance, names: Names, connection: Connection, limits: TickLimits
) -> dict[str, dg.RunRecord]:
    """The started runs of this pipeline that do not hold their lock, by id."""
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    ours = {record.dagster_run.run_id: record for record in records if _is_ours(record.dagster_run, names)}
    held = alive(connection, list(ours), settle_seconds=limits.settle_seconds)
    return {run: record for run, record in ours.items() if run not in held}


def _release(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    instance.report_run_failed(run, "Its process is gone, or lost Postgres for good; it is run again.")
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _is_ours(run: dg.DagsterRun, names: Names) -> bool:
    chosen = {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    return run.job_name in names.jobs or not chosen.isdisjoint(names.assets)


def runs_of(instance: dg.DagsterInstance, names: Names, arrivals: Sequence[str]) -> dict[str, list[dg.DagsterRun]]:
    """The runs of each arrival, newest first. Arrivals without runs are left out."""
    found: dict[str, list[dg.DagsterRun]] = {}
    if arrivals:
        for run in instance.get_runs(dg.RunsFilter(tags={PARTITION: list(arrivals)})):
            # Two pipelines may have arrivals of the same second, and so of the same key.
            if is_of(run, names):
                found.setdefault(run.tags[PARTITION], []).append(run)
    return found


def spend_until(tags: Mapping[str, str]) -> float | None:
    """The spending of all runs of all time, in USD, at which a run ends; None if it has no such limit.

    Raises ConfigurationError: a person may have written the tag.
    """
    if SPEND_UNTIL not in tags:
        return None
    try:
        limit = float(tags[SPEND_UNTIL])
    except ValueError:
        limit = -1.0
    if not 0 <= limit < math.inf:
        raise ConfigurationError(f"the run's tag {SPEND_UNTIL} is '{tags[SPEND_UNTIL]}': write a number of USD")
    return limit


def is_active(runs: Iterable[dg.DagsterRun]) -> bool:
    """Whether one of the runs is queued or under way."""
    return any(run.status in ACTIVE for run in runs)


def run_keys(
    instance: dg.DagsterInstance,
    runs: Mapping[str, Sequence[dg.DagsterRun]],
    arrivals: Sequence[str],
    retry: Collection[str],
) -> dict[str, str]:
    """The idle arrivals to request runs for, with the keys of the runs.

    An arrival is requested once under its own name. If its last run died with its process, or if it is in `retry`, it is
    requested again under a key with the id of that run. Otherwise it waits.
    """
    wanted: dict[str, str] = {}
    for arrival in arrivals:
        of_arrival = runs.get(arrival, [])
        if not of_arrival:
            wanted[arrival] = arrival
        elif arrival in retry or (len(of_arrival) < TRIES and _died(instance, of_arrival[0])):
            wanted[arrival] = f"{arrival} after {of_arrival[0].run_id}"
    return wanted


def was_interrupted(event: dg.DagsterEvent) -> bool:
    """Whether a step failed because its process received a signal to stop: Ctrl-C, SIGTERM, or a pod that is moved."""
    error = event.step_failure_data.error
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__


def was_run_interrupted(events: Iterable[dg.DagsterEvent]) -> bool:
    """Whether a run with these events was interrupted, in a step or between two of them."""
    for event in events:
        if event.is_step_failure and was_interrupted(event):
            return True
        error = event.job_failure_data.error if event.is_job_failure else None
        if error is not None and error.cls_name in (dg.DagsterExecutionInterruptedError.__name__, "KeyboardInterrupt"):
            return True
    return False


def _died(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run failed only because its process ended. A run that a person ended has the status canceled.

    False for runs that the instance itself retries (run_retries in dagster.yaml).
    """
    if run.status is not dg.DagsterRunStatus.FAILURE or run.tags.get(WILL_RETRY) == "true":
        return False
    failures = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    events = [record.event_log_entry.dagster_event for record in failures]
    return all(event is not None and was_interrupted(event) for event in events)
