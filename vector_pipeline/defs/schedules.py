"""The backfill: run arrivals with files that failed, are missing, or were loaded by other rules, oldest first.

A Dagster schedule has one job. So for a source that is too large for a tick there is a second schedule for the job
`scan`, and a sensor that requests runs for what such a scan found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg

from vector_pipeline.defs.assets.source_files import register_arrivals
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.resources import NoSource
from vector_pipeline.defs.runs import LOOKUP, SPEND_UNTIL, TRIGGER, is_active, release_abandoned, runs_of
from vector_pipeline.defs.ticks import is_preview, looking, needs_scan_run, preview, request_scan, scan_in_tick, summary
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import variable
from vector_pipeline.stages.embeddings.budget import committed_in_all
from vector_pipeline.stages.roots import gone, gone_line
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.locks import in_progress


def build_backfill_schedule(opening: Opening, ingest: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """`backfill_schedule`: each tick requests runs of the arrivals that own pending or stale files.

    Raises ConfigurationError for a BACKFILL_CRON that is none.
    """

    def backfill_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            with looking(opening, "schedule") as (pipeline, connection):
                return preview(connection) if is_preview(context) else _tick(context, opening, pipeline)
        except NoSource as error:
            return dg.SkipReason(str(error))

    return _on_cron(
        opening,
        "backfill_schedule",
        ingest,
        "Runs arrivals again whose files failed, are missing, or were loaded by other rules, oldest first.",
        backfill_schedule,
    )


def build_scan_schedule(opening: Opening, scanning: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """`scan_schedule`: requests a run that lists the source, if that is too much for `backfill_schedule`.

    Raises ConfigurationError for a BACKFILL_CRON that is none.
    """
    names, limits = opening.names, opening.ticks

    def scan_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        try:
            with looking(opening, "schedule") as (pipeline, connection):
                if is_preview(context):
                    return preview(connection)
                release_abandoned(context.instance, names, connection, limits)
                if not needs_scan_run(connection, pipeline, limits):
                    return dg.SkipReason("backfill_schedule lists the source itself")
                tags = _tags(connection, pipeline)
        except NoSource as error:
            return dg.SkipReason(str(error))
        line, request = request_scan(context.instance, names, tags, limits.scan_every_seconds)
        return request or dg.SkipReason(line)

    return _on_cron(
        opening,
        "scan_schedule",
        scanning,
        "Lists a source that is too large, far or slow for backfill_schedule; backfill_sensor loads what is found.",
        scan_schedule,
    )


def build_backfill_sensor(
    opening: Opening, scanning: dg.UnresolvedAssetJobDefinition, ingest: dg.UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    """`backfill_sensor`: requests runs for what a scan of `scan_schedule` found, within the budget of that night."""
    names = opening.names

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name=names.of("backfill_sensor"),
        monitored_jobs=[scanning],
        request_job=ingest,
        default_status=opening.options.sensor_status("backfill_sensor"),
        description="Loads what a run of scan_schedule found.",
    )
    def backfill_sensor(context: dg.RunStatusSensorContext) -> dg.SensorResult | dg.SkipReason:
        if context.dagster_run.tags.get(TRIGGER) != "schedule":
            return dg.SkipReason("source_files_sensor loads what this scan found")
        tags = {name: value for name, value in context.dagster_run.tags.items() if name in (TRIGGER, SPEND_UNTIL)}
        with looking(opening, "schedule") as (pipeline, connection):
            wanted = _idle(connection, context.instance, names, pipeline.settings.backfill_max_runs)
        if not wanted:
            return dg.SkipReason("nothing is pending")
        register_arrivals(context.instance, names, wanted)
        run = context.dagster_run.run_id
        return dg.SensorResult(
            [dg.RunRequest(run_key=f"{arrival} after {run}", partition_key=arrival, tags=tags) for arrival in wanted]
        )

    return backfill_sensor


def _on_cron(
    opening: Opening,
    name: str,
    job: dg.UnresolvedAssetJobDefinition,
    description: str,
    tick: Callable[..., Any],
) -> dg.ScheduleDefinition:
    """A schedule at BACKFILL_CRON. Raises ConfigurationError if that is not a cron line."""
    cron = opening.settings.backfill_cron
    try:
        return dg.schedule(
            name=opening.names.of(name),
            job=job,
            cron_schedule=cron,
            execution_timezone="UTC",
            default_status=opening.options.schedule_status(name),
            description=description,
        )(tick)
    except dg.DagsterInvalidDefinitionError as error:
        raise ConfigurationError(
            f"{variable('backfill_cron')} is '{cron}': must be a cron line, such as '0 3 * * *'"
        ) from error


def _tick(
    context: dg.ScheduleEvaluationContext, opening: Opening, pipeline: Pipeline
) -> list[dg.RunRequest] | dg.SkipReason:
    names = opening.names
    with pipeline.database.connect(role="schedule") as connection:
        release_abandoned(context.instance, names, connection, opening.ticks)
        scanned = scan_in_tick(connection, pipeline, opening.ticks, "schedule", remote=True)
        tags = _tags(connection, pipeline)
        missing = [gone_line(root) for root in gone(connection)]
    wanted = arrivals_to_run(context.instance, names, pipeline)
    large = "the source is large, slow or new: scan_schedule lists it"
    found = large if scanned.results is None else summary(scanned.results)
    found = "; ".join([found, *missing, *scanned.failed])
    if not wanted:
        scanned.require_all()
        return dg.SkipReason(f"nothing is pending, failed or stale ({found})")
    context.log.info(found)
    return [dg.RunRequest(run_key=arrival, partition_key=arrival, tags=tags) for arrival in wanted]


def _tags(connection: Connection, pipeline: Pipeline) -> dict[str, str]:
    """The tags for the runs of one night: their trigger, and the budget of all of them."""
    tags = {TRIGGER: "schedule"}
    budget = pipeline.settings.backfill_max_cost_usd
    if budget is not None:
        tags[SPEND_UNTIL] = f"{committed_in_all(connection, pipeline) + budget:.6f}"
    return tags


def arrivals_to_run(instance: dg.DagsterInstance, names: Names, pipeline: Pipeline) -> list[str]:
    """Arrivals with pending or stale files that no run works on, oldest first, up to the number for one tick.

    Their partitions exist when this returns, because one unknown key would make the whole tick fail.
    """
    at_most, at_once = pipeline.settings.backfill_max_runs, pipeline.settings.max_files_per_arrival
    with pipeline.database.connect(role="schedule") as connection:
        wanted = _idle(connection, instance, names, at_most)
        # Only as many as are run now: the sensor takes up pending arrivals that have no run yet, at once and without a
        # budget.
        prints = pipeline.fingerprints
        while len(wanted) < at_most and manifest.mark_stale_pending(
            connection, prints.current, at_once, rejecting=prints.rejecting
        ):
            wanted = _idle(connection, instance, names, at_most)
    register_arrivals(instance, names, wanted)
    return wanted


def _idle(connection: Connection, instance: dg.DagsterInstance, names: Names, at_most: int) -> list[str]:
    """Pending arrivals that no run works on, oldest first."""
    pending = manifest.pending_arrivals(connection)
    busy = in_progress(connection, pending)
    idle: list[str] = []
    for start in range(0, len(pending), LOOKUP):
        portion = pending[start : start + LOOKUP]
        runs = runs_of(instance, names, portion)
        idle += [a for a in portion if a not in busy and not is_active(runs.get(a, ()))]
        if len(idle) >= at_most:
            break
    return idle[:at_most]
