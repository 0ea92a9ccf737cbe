"""The sensor on new files, and the one that has the index kept once loads are quiet."""

from __future__ import annotations

from contextlib import ExitStack

import dagster as dg

from vector_pipeline.defs.assets.source_files import register_arrivals
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.resources import SourceResource
from vector_pipeline.errors import PipelineError
from vector_pipeline.settings import Settings
from vector_pipeline.stages.arrivals import in_progress
from vector_pipeline.stages.pipeline import Pipeline, open_pipeline
from vector_pipeline.stages.scan import scan
from vector_pipeline.store import manifest

INTERVAL_SECONDS = 30

# Runs asked for in one tick: a first scan of a large source comes in portions.
RUNS_PER_TICK = 50


def build_source_files_sensor(
    names: Names,
    settings: Settings,
    ingest: dg.UnresolvedAssetJobDefinition,
    opened: Pipeline | None,
) -> dg.SensorDefinition:
    """`source_files_sensor`: each tick scans the source and asks for runs of the arrivals that are due."""

    @dg.sensor(
        name=names.of("source_files_sensor"),
        job=ingest,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finds new, changed and deleted files and has them loaded. A file still being written waits.",
    )
    def source_files_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            with ExitStack() as stack:
                pipeline = opened or stack.enter_context(open_pipeline(settings))
                return _tick(context, names, pipeline)
        except PipelineError as error:
            # A source or database that is away must not look like a quiet day: the reason is what the tick shows.
            return dg.SkipReason(str(error))

    return source_files_sensor


def _tick(context: dg.SensorEvaluationContext, names: Names, pipeline: Pipeline) -> dg.SensorResult | dg.SkipReason:
    options = pipeline.scan_options("sensor", quiet=True)
    with pipeline.database.connect(role="sensor") as connection:
        sources = SourceResource(pipeline.settings.source).open(connection)
        results = [scan(pipeline.database, source, options) for source in sources]
        # What is pending decides, and not what this tick found: an arrival that a scan by hand registered, or that a
        # killed daemon left behind, is taken up here.
        pending = manifest.pending_arrivals(connection, due=True)
        busy = in_progress(connection, pending)
    found = "; ".join(str(result) for result in results)
    warning = " ".join(result.warning for result in results if result.warning)
    wanted = [arrival for arrival in pending if arrival not in busy][:RUNS_PER_TICK]
    if not wanted:
        return dg.SkipReason(f"{found}. {warning}".strip() if warning else found)
    register_arrivals(context.instance, names, wanted)
    context.log.info(f"{found} {warning}".strip())
    # The arrival is the run key: an arrival is asked for once, and what fails is the schedule's to try again.
    requests = [
        dg.RunRequest(run_key=arrival, partition_key=arrival, tags={"vector_pipeline/trigger": "sensor"})
        for arrival in wanted
    ]
    return dg.SensorResult(run_requests=requests)


def build_index_automation(names: Names, vector_index: dg.AssetsDefinition) -> dg.AutomationConditionSensorDefinition:
    """Has `vector_index` materialized once per burst of loads."""
    return dg.AutomationConditionSensorDefinition(
        names.of("vector_index_automation"),
        target=dg.AssetSelection.assets(vector_index),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=15,
    )
