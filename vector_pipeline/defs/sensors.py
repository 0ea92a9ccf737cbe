"""The sensor on new files, and the one that maintains the index once loads are quiet."""

from __future__ import annotations

import time

import dagster as dg

from vector_pipeline.defs.assets.source_files import register_arrivals, scan_metadata
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.runs import TRIGGER, release_abandoned, run_keys
from vector_pipeline.defs.ticks import request_scan, scan_in_tick, summary
from vector_pipeline.errors import PipelineError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store import manifest
from vector_pipeline.store.locks import in_progress

_TAGS = {TRIGGER: "sensor"}


def build_source_files_sensor(
    opening: Opening, scanning: dg.UnresolvedAssetJobDefinition, ingest: dg.UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    """`source_files_sensor`: each tick scans the source, or requests a run that does, and runs of what is due."""

    @dg.sensor(
        name=opening.names.of("source_files_sensor"),
        jobs=[scanning, ingest],
        minimum_interval_seconds=opening.ticks.interval_seconds,
        default_status=opening.options.sensor_status("source_files_sensor"),
        description="Finds new, changed and deleted files and loads them. A file still being written waits.",
    )
    def source_files_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            with opening.pipeline() as pipeline:
                return _tick(context, opening, pipeline)
        except PipelineError as error:
            # A source or database that is away must not look like a quiet day: the reason is what the tick shows.
            return dg.SkipReason(str(error))

    return source_files_sensor


def _tick(context: dg.SensorEvaluationContext, opening: Opening, pipeline: Pipeline) -> dg.SensorResult | dg.SkipReason:
    names, limits = opening.names, opening.ticks
    requests: list[dg.RunRequest] = []
    events: list[dg.AssetMaterialization] = []
    with pipeline.database.connect(role="sensor") as connection:
        release_abandoned(context.instance, names, connection, limits)
        # The cursor holds until when listing is known to be slow, and nothing else.
        slow_until = float(context.cursor or 0.0)
        results = None
        if time.time() >= slow_until:
            results = scan_in_tick(connection, pipeline, limits, "sensor", max_arrivals=limits.runs_per_tick)
        slow = any(result.slow for result in results or ())
        found = summary(results) if results is not None else ""
        if results is None or slow:
            line, request = request_scan(context.instance, names, _TAGS, limits.scan_every_seconds)
            found = f"{found}; {line}" if found else line
            requests += [request] if request else []
        # What is pending decides, and not what this tick found: a scan by hand may have registered an arrival, or a
        # killed daemon may have left one behind.
        pending = manifest.pending_arrivals(connection, due=True)
        busy = in_progress(connection, pending)
        if results is not None and any(result.arrivals for result in results):
            # The asset is the manifest: the graph shows it as old as it is, whoever scanned.
            metadata = scan_metadata(results, manifest.count_files(connection), pending)
            events.append(dg.AssetMaterialization(names.asset("source_files"), metadata=metadata))
    wanted = run_keys(context.instance, names, pending, busy, limits.runs_per_tick)
    requests += [
        dg.RunRequest(job_name=names.of("ingest"), run_key=key, partition_key=arrival, tags=_TAGS)
        for arrival, key in wanted.items()
    ]
    cursor = str(time.time() + limits.slow_for_seconds) if slow else context.cursor
    if not requests and not events:
        return dg.SensorResult(skip_reason=dg.SkipReason(found), cursor=cursor) if slow else dg.SkipReason(found)
    register_arrivals(context.instance, names, list(wanted))
    context.log.info(found)
    return dg.SensorResult(run_requests=requests, asset_events=events, cursor=cursor)


def build_index_automation(opening: Opening, *assets: dg.AssetsDefinition) -> dg.AutomationConditionSensorDefinition:
    """`vector_index_automation`: materializes `vector_index` once after each burst of loads.

    It also scans the source after the assets that write it, where there are such.
    """
    names = opening.names
    return dg.AutomationConditionSensorDefinition(
        names.of("vector_index_automation"),
        target=dg.AssetSelection.assets(*assets),
        default_status=opening.options.sensor_status("vector_index_automation"),
        minimum_interval_seconds=15,
        description="Materializes vector_index once after each burst of loads, when they are quiet.",
        run_tags={"vector_pipeline": names.prefix or "default", TRIGGER: "automation"},
    )
