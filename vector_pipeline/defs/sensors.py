"""The sensor on new files, and the one that has the index kept once loads are quiet."""

from __future__ import annotations

import time
from contextlib import ExitStack

import dagster as dg

from vector_pipeline.defs.assets.source_files import register_arrivals, scan_metadata
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.runs import TRIGGER, release_abandoned, run_keys
from vector_pipeline.defs.ticks import (
    INTERVAL_SECONDS,
    SCAN_EVERY_SECONDS,
    SLOW_FOR_SECONDS,
    have_scanned,
    scan_in_tick,
    told,
)
from vector_pipeline.errors import PipelineError
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.store import manifest
from vector_pipeline.store.locks import in_progress

# Runs that the sensor has queued or under way at a time, and arrivals that one tick registers at most: a first scan
# of a large source comes in portions.
RUNS_PER_TICK = 50

_TAGS = {TRIGGER: "sensor"}


def build_source_files_sensor(
    names: Names,
    settings: Settings,
    scanning: dg.UnresolvedAssetJobDefinition,
    ingest: dg.UnresolvedAssetJobDefinition,
    opened: Pipeline | None,
) -> dg.SensorDefinition:
    """`source_files_sensor`: each tick scans the source, or has it scanned, and asks for runs of what is due."""

    @dg.sensor(
        name=names.of("source_files_sensor"),
        jobs=[scanning, ingest],
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
    requests: list[dg.RunRequest] = []
    events: list[dg.AssetMaterialization] = []
    with pipeline.database.connect(role="sensor") as connection:
        release_abandoned(context.instance, names, connection)
        # The cursor holds until when listing is known to be slow, and nothing else.
        slow_until = float(context.cursor or 0.0)
        results = None
        if time.time() >= slow_until:
            results = scan_in_tick(connection, pipeline, "sensor", max_arrivals=RUNS_PER_TICK)
        slow = any(result.slow for result in results or ())
        found = told(results) if results is not None else ""
        if results is None or slow:
            said, request = have_scanned(context.instance, names, _TAGS, SCAN_EVERY_SECONDS)
            found = f"{found}; {said}" if found else said
            requests += [request] if request else []
        # What is pending decides, and not what this tick found: an arrival that a scan by hand registered, or that a
        # killed daemon left behind, is taken up here.
        pending = manifest.pending_arrivals(connection, due=True)
        busy = in_progress(connection, pending)
        if results is not None and any(result.arrivals for result in results):
            # The asset is the manifest: the graph shows it as old as it is, whoever scanned.
            metadata = scan_metadata(results, manifest.count_files(connection), pending)
            events.append(dg.AssetMaterialization(names.asset("source_files"), metadata=metadata))
    wanted = run_keys(context.instance, names, pending, busy, RUNS_PER_TICK)
    requests += [
        dg.RunRequest(job_name=names.of("ingest"), run_key=key, partition_key=arrival, tags=_TAGS)
        for arrival, key in wanted.items()
    ]
    cursor = str(time.time() + SLOW_FOR_SECONDS) if slow else context.cursor
    if not requests and not events:
        return dg.SensorResult(skip_reason=dg.SkipReason(found), cursor=cursor) if slow else dg.SkipReason(found)
    register_arrivals(context.instance, names, list(wanted))
    context.log.info(found)
    return dg.SensorResult(run_requests=requests, asset_events=events, cursor=cursor)


def build_index_automation(names: Names, vector_index: dg.AssetsDefinition) -> dg.AutomationConditionSensorDefinition:
    """Has `vector_index` materialized once per burst of loads."""
    return dg.AutomationConditionSensorDefinition(
        names.of("vector_index_automation"),
        target=dg.AssetSelection.assets(vector_index),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=15,
        run_tags={"vector_pipeline": names.prefix or "default", TRIGGER: "automation"},
    )
