"""The sensor for new files, and the one that maintains the index when no loads are running."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg
from pydantic import BaseModel

from vector_pipeline.defs.arrivals import due_arrivals, waiting_line
from vector_pipeline.defs.assets.source_files import register_arrivals, scan_metadata, state_metadata
from vector_pipeline.defs.events import TickEvents, events_in_tick
from vector_pipeline.defs.file_checks import FileState, evaluations
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.resources import NoSource
from vector_pipeline.defs.runs import TRIGGER, release_abandoned_since
from vector_pipeline.defs.ticks import (
    TickScan,
    is_preview,
    looking,
    pause_after,
    preview,
    request_scan,
    scan_in_tick,
    summary,
)
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.roots import gone, gone_line
from vector_pipeline.stages.scan import ScanResult
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.load_progress import load_progress

_TAGS = {TRIGGER: "sensor"}

# Dagster's daemon looks at sensors every 5 s, and at one whose last tick began less than its interval ago not until 5 s
# later. A tick begins some hundredths of a second after the daemon looked, so with an interval of 5 s every second tick
# or so came after 10 s (Dagster 1.13).
_EARLIER_SECONDS = 2


def build_source_files_sensor(
    opening: Opening, scanning: dg.UnresolvedAssetJobDefinition, ingest: dg.UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    """`source_files_sensor`: each tick scans the source, or requests a run that does, and requests runs that are due.

    The tick fails if Postgres or the source cannot be reached.
    """

    @dg.sensor(
        name=opening.names.of("source_files_sensor"),
        jobs=[scanning, ingest],
        minimum_interval_seconds=max(1, opening.ticks.interval_seconds - _EARLIER_SECONDS),
        default_status=opening.options.sensor_status("source_files_sensor"),
        description="Finds new, changed and deleted files and loads them. A file that is still being written waits.",
    )
    def source_files_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            with looking(opening, "sensor") as (pipeline, connection):
                if is_preview(context):
                    return preview(connection)
                return _Tick(context, opening, pipeline, connection).run()
        except NoSource as error:
            return dg.SkipReason(str(error))

    return source_files_sensor


class Cursor(BaseModel):
    """What a tick keeps for the next."""

    slow_until: float = 0.0
    """Until this time (seconds since the epoch) a listing counts as too slow for a tick."""
    scan_after: float = 0.0
    """No tick scans before this time (seconds since the epoch): scans would take too large a share of the time."""
    shown: tuple[int, ...] = ()
    """The counts of files that were last reported to the UI."""
    events_url: str = ""
    """The queue of events for which the buckets were listed: what changed before it existed is in no event."""
    without_lock: dict[str, float] = {}
    """Runs that were started and do not hold their lock, and since when (seconds since the epoch)."""

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """Read the cursor of the last tick. Before version 0.2 it was only the time."""
        if not text:
            return cls()
        return cls.model_validate_json(text) if text.startswith("{") else cls(slow_until=float(text))


class _Tick:
    """One tick of the sensor."""

    def __init__(
        self, context: dg.SensorEvaluationContext, opening: Opening, pipeline: Pipeline, connection: Connection
    ) -> None:
        self.context = context
        self.opening = opening
        self.pipeline = pipeline
        self.connection = connection
        self.cursor = Cursor.read(context.cursor)
        self.lines: list[str] = []
        self.scanned = TickScan(None)
        self.requests: list[dg.RunRequest] = []
        self.events: list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation] = []

    def run(self) -> dg.SensorResult | dg.SkipReason:
        names, limits, instance = self.opening.names, self.opening.ticks, self.context.instance
        without_lock = release_abandoned_since(instance, names, self.connection, self.cursor.without_lock, limits)
        self.cursor = self.cursor.model_copy(update={"without_lock": without_lock})
        results = self._scan()
        # All pending arrivals count, not only those of this tick: a manual scan may have registered one, or a killed
        # daemon may have left one.
        due = due_arrivals(self.connection, instance, names, self.pipeline, limits.runs_per_tick)
        self.requests += [
            dg.RunRequest(job_name=names.of("ingest"), run_key=key, partition_key=arrival, tags=_TAGS)
            for arrival, key in due.keys.items()
        ]
        if due.waiting:
            self.lines.append(waiting_line(due.waiting, self.pipeline.settings.backfill_cron, names))
        self._show(results)
        register_arrivals(instance, names, list(due.keys))
        return self._result()

    def _scan(self) -> list[ScanResult] | None:
        """Take what events name, and scan the other sources. Returns the results; None if nothing was looked at."""
        events = self._events()
        listed = self._list(() if events.must_list else events.roots)
        if events.failed:
            self.scanned = replace(self.scanned, failed=[*self.scanned.failed, events.failed])
        return listed if events.taken is None else [*events.taken.results, *(listed or ())]

    def _events(self) -> TickEvents:
        """Read the queue of events, if the buckets were listed since it is in use."""
        url = self.pipeline.settings.events_url or ""
        if not url or self.cursor.events_url != url:
            return TickEvents()
        events = events_in_tick(self.connection, self.pipeline, self.opening.ticks)
        if events.line:
            self.lines.append(events.line)
        if events.must_list:
            self.cursor = self.cursor.model_copy(update={"events_url": ""})
        return events

    def _list(self, without: Sequence[str]) -> list[ScanResult] | None:
        """Scan the sources apart from some roots."""
        limits, began = self.opening.ticks, time.time()
        if 0 < self.cursor.scan_after - began <= limits.slow_for_seconds:
            self.lines.append(f"a scan takes long here; the next one follows in {self.cursor.scan_after - began:.0f} s")
            return None
        results = None
        if not 0 < self.cursor.slow_until - began <= limits.slow_for_seconds:
            self.scanned = scan_in_tick(
                self.connection,
                self.pipeline,
                limits,
                "sensor",
                max_arrivals=limits.runs_per_tick,
                without=without,
            )
            results = self.scanned.results
            self.lines += self.scanned.failed
        if results is not None:
            if not any(result.unfinished for result in results):
                self._pause_after(sum(result.seconds for result in results))
            self.lines += [*filter(None, [summary(results)]), *map(gone_line, gone(self.connection))]
        slow = any(result.slow for result in results or ())
        if slow:
            self.cursor = self.cursor.model_copy(update={"slow_until": time.time() + limits.slow_for_seconds})
        if results is None or slow:
            line, request = request_scan(
                self.context.instance, self.opening.names, _TAGS, limits.scan_every_seconds, without=without
            )
            self.lines.append(line)
            self.requests += [request] if request else []
            if request and not without:
                self.cursor = self.cursor.model_copy(update={"events_url": self.pipeline.settings.events_url or ""})
        return results

    def _pause_after(self, seconds: float) -> None:
        pause = pause_after(seconds, self.opening.ticks)
        self.cursor = self.cursor.model_copy(update={"scan_after": time.time() + pause if pause else 0.0})

    def _show(self, results: list[ScanResult] | None) -> None:
        """Report the state to the UI if it has changed. If loads fail, no run reports it."""
        names = self.opening.names
        state = FileState.read(self.connection)
        now = (state.pending, state.rejected, state.failed, state.late)
        found = results is not None and any(result.arrivals for result in results)
        if now == self.cursor.shown and not found:
            return
        self.cursor = self.cursor.model_copy(update={"shown": now})
        counts, pending = manifest.count_files(self.connection), manifest.pending_arrivals(self.connection)
        progress = load_progress(self.connection, counts)
        key = names.asset("source_files")
        if results is not None and found:
            # The asset is the manifest, so the graph shows the time of the last scan, whichever process scanned.
            self.events.append(dg.AssetMaterialization(key, metadata=scan_metadata(results, counts, pending, progress)))
        else:
            self.events.append(dg.AssetObservation(key, metadata=state_metadata(counts, pending, progress)))
        self.events += evaluations(self.connection, names, state)

    def _result(self) -> dg.SensorResult | dg.SkipReason:
        line = "; ".join(self.lines)
        cursor = self.cursor.model_dump_json()
        if self.requests or self.events:
            self.context.log.info(line)
            return dg.SensorResult(run_requests=self.requests, asset_events=self.events, cursor=cursor)
        if cursor != self.context.cursor:
            return dg.SensorResult(skip_reason=dg.SkipReason(line), cursor=cursor)
        self.scanned.require_all()
        return dg.SkipReason(line)


def build_index_automation(opening: Opening, *assets: dg.AssetsDefinition) -> dg.AutomationConditionSensorDefinition:
    """`vector_index_automation`: materializes `vector_index` once after each burst of loads.

    It also scans the source after the assets that write it, if there are any.
    """
    names = opening.names
    return dg.AutomationConditionSensorDefinition(
        names.of("vector_index_automation"),
        target=dg.AssetSelection.assets(*assets) | dg.AssetSelection.checks(*names.checks_of_index),
        default_status=opening.options.sensor_status("vector_index_automation"),
        minimum_interval_seconds=15,
        description="Materializes vector_index once after each burst of loads, when no loads are running.",
        run_tags={"vector_pipeline": names.prefix or "default", TRIGGER: "automation"},
    )
