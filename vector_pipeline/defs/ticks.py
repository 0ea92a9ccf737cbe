"""A scan inside a tick of the sensor or the schedule, where the source is small and near enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vector_pipeline.defs.resources import SourceResource
from vector_pipeline.sources.source import Source
from vector_pipeline.stages.pipeline import Pipeline
from vector_pipeline.stages.scan import ScanResult, scan
from vector_pipeline.store import manifest

# Ticks of the sensor.
INTERVAL_SECONDS = 30

# How often a run is asked for that scans what is too much for a tick.
SCAN_EVERY_SECONDS = 120

# Above this many known files a tick does not scan, and neither where listing is slow: it would hold the daemon.
FILES_PER_TICK = 100_000

# A scan inside a tick breaks off after this: Dagster gives a tick 60 s, and the daemon has other sensors.
SCAN_SECONDS = 20.0

# Where it did, runs scan for so long before a tick tries again.
SLOW_FOR_SECONDS = 3_600


def notice_seconds(source: Source) -> float:
    """How long a change may wait until the sensor has seen it, on an ordinary day."""
    return 2.0 * (INTERVAL_SECONDS if source.reads_cheaply else SCAN_EVERY_SECONDS)


def scan_in_tick(
    connection: manifest.Connection,
    pipeline: Pipeline,
    trigger: str,
    *,
    max_arrivals: int | None = None,
    remote: bool = False,
) -> list[ScanResult] | None:
    """Scan the sources; None, and nothing done, where that is for a run of its own.

    Files that changed within QUIET_SECONDS are left alone. After `max_arrivals`, or where it takes too long, the rest
    waits for the next scan.
    `remote` says that this tick may also wait for a store whose size is known from earlier scans.
    """
    sources = SourceResource(pipeline.settings.source).open(connection)
    if any(_takes_long(connection, source, remote) for source in sources):
        return None
    options = replace(pipeline.scan_options(trigger, quiet=True, max_arrivals=max_arrivals), max_seconds=SCAN_SECONDS)
    return [scan(pipeline.database, source, options) for source in sources]


def told(results: Sequence[ScanResult]) -> str:
    """What scans found, and what a person has to decide on, for a tick's page."""
    found = "; ".join(str(result) for result in results)
    warnings = " ".join(result.warning for result in results if result.warning)
    return f"{found}. {warnings}" if warnings else found


def _takes_long(connection: manifest.Connection, source: Source, remote: bool) -> bool:
    known = manifest.count_present(connection, source.root)
    return known > FILES_PER_TICK or not (source.reads_cheaply or (remote and known))
