"""The scheduled backfill: what is failed, missing, or loaded by other rules, oldest first."""

from __future__ import annotations

from contextlib import ExitStack

import dagster as dg

from vector_pipeline.defs.assets.source_files import register_arrivals
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.runs import LOOKUP, SPEND_UNTIL, TRIGGER, is_active, release_abandoned, runs_of
from vector_pipeline.defs.ticks import scan_in_tick, told
from vector_pipeline.errors import ConfigurationError, PipelineError
from vector_pipeline.settings import Settings, variable
from vector_pipeline.stages.arrivals import in_progress
from vector_pipeline.stages.budget import committed_in_all
from vector_pipeline.stages.pipeline import Pipeline, open_pipeline
from vector_pipeline.store import manifest


def build_backfill_schedule(
    names: Names,
    settings: Settings,
    ingest: dg.UnresolvedAssetJobDefinition,
    opened: Pipeline | None,
) -> dg.ScheduleDefinition:
    """`backfill_schedule`: each tick asks for runs of the arrivals that own pending or stale files.

    Raises ConfigurationError for a BACKFILL_CRON that is none.
    """

    def backfill_schedule(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            with ExitStack() as stack:
                pipeline = opened or stack.enter_context(open_pipeline(settings))
                return _tick(context, names, pipeline)
        except PipelineError as error:
            return dg.SkipReason(str(error))

    try:
        return dg.schedule(
            name=names.of("backfill_schedule"),
            job=ingest,
            cron_schedule=settings.backfill_cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Runs again what failed or is missing, and what was loaded by other rules, oldest first.",
        )(backfill_schedule)
    except dg.DagsterInvalidDefinitionError as error:
        raise ConfigurationError(
            f"{variable('backfill_cron')} is '{settings.backfill_cron}': must be a cron line, such as '0 3 * * *'"
        ) from error


def _tick(
    context: dg.ScheduleEvaluationContext, names: Names, pipeline: Pipeline
) -> list[dg.RunRequest] | dg.SkipReason:
    tags = {TRIGGER: "schedule"}
    with pipeline.database.connect(role="schedule") as connection:
        release_abandoned(context.instance, names, connection)
        results = scan_in_tick(connection, pipeline, "schedule", remote=True)
        budget = pipeline.settings.backfill_max_cost_usd
        if budget is not None:
            tags[SPEND_UNTIL] = f"{committed_in_all(connection, pipeline) + budget:.6f}"
    wanted = arrivals_to_run(context.instance, names, pipeline)
    found = told(results) if results is not None else "the source is large or new: source_files_sensor has it listed"
    if not wanted:
        return dg.SkipReason(f"nothing is pending, failed or stale ({found})")
    context.log.info(found)
    return [dg.RunRequest(run_key=arrival, partition_key=arrival, tags=tags) for arrival in wanted]


def arrivals_to_run(instance: dg.DagsterInstance, names: Names, pipeline: Pipeline) -> list[str]:
    """Arrivals that own pending or stale files and that nobody works on, oldest first, as many as a tick may run.

    Their partitions exist when this returns: one unknown key would make the whole tick fail.
    """
    at_most, at_once = pipeline.settings.backfill_max_runs, pipeline.settings.max_files_per_arrival
    with pipeline.database.connect(role="schedule") as connection:
        wanted = _idle(connection, instance, names, at_most)
        # Only as many as are run now: what is pending without a run of its own is taken up by the sensor, at once and
        # without a budget.
        while len(wanted) < at_most and manifest.mark_stale_pending(connection, pipeline.fingerprint, at_once):
            wanted = _idle(connection, instance, names, at_most)
    register_arrivals(instance, names, wanted)
    return wanted


def _idle(connection: manifest.Connection, instance: dg.DagsterInstance, names: Names, at_most: int) -> list[str]:
    """Pending arrivals that nobody works on, oldest first."""
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
