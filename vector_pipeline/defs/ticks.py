"""A scan inside a tick of the sensor or the schedule, where the source is small and near enough."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import dagster as dg

from vector_pipeline.defs.assets.source_files import ScanConfig
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.resources import SourceResource
from vector_pipeline.defs.runs import ACTIVE
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.sources.base import Source
from vector_pipeline.stages.scan import ScanResult, scan
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.scans import LastScan, last_scans

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
    connection: Connection,
    pipeline: Pipeline,
    trigger: str,
    *,
    max_arrivals: int | None = None,
    remote: bool = False,
) -> list[ScanResult] | None:
    """Scan the sources; None, and nothing done, where that is for a run of its own.

    Files that changed within QUIET_SECONDS are left alone. After `max_arrivals`, or where it takes too long, the rest
    waits for the next scan.
    `remote` says that this tick may also wait for a store whose size and speed are known from earlier scans.
    """
    sources = SourceResource(pipeline.settings.source).open(connection)
    known = _last_scans(connection)
    if any(_takes_long(connection, source, known.get(source.root), remote) for source in sources):
        return None
    options = replace(pipeline.scan_options(trigger, quiet=True, max_arrivals=max_arrivals), max_seconds=SCAN_SECONDS)
    return [scan(pipeline.database, source, options) for source in sources]


def wants_run(connection: Connection, pipeline: Pipeline) -> bool:
    """Whether a source is to be scanned by a run: a tick with `remote` leaves it, or it never was scanned to its end."""
    sources = SourceResource(pipeline.settings.source).open(connection)
    known = _last_scans(connection)
    return any(
        source.root not in known or _takes_long(connection, source, known[source.root], remote=True)
        for source in sources
    )


def have_scanned(
    instance: dg.DagsterInstance, names: Names, tags: Mapping[str, str], every_seconds: float
) -> tuple[str, dg.RunRequest | None]:
    """A request for a run of `scan`, unless one is queued, under way or began so shortly ago; and what to say of it."""
    job = names.of("scan")
    now = time.time()
    for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=1):
        if record.dagster_run.status in ACTIVE:
            return f"a run of {job} is listing the source", None
        age = now - record.create_timestamp.timestamp()
        if age < every_seconds:
            return (
                f"the last run of {job} began {age:.0f} s ago; the next follows after {every_seconds} s",
                None,
            )
    slot = int(now // every_seconds)
    asset = names.asset("source_files").to_python_identifier()
    return (
        f"the source is large, remote or slow: a run of {job} lists it, every {every_seconds} s at most",
        dg.RunRequest(
            job_name=job,
            run_key=f"{job} {slot}",
            run_config=dg.RunConfig({asset: ScanConfig(quiet=True)}),
            tags=dict(tags),
        ),
    )


def told(results: Sequence[ScanResult]) -> str:
    """What scans found, and what a person has to decide on, for a tick's page."""
    found = "; ".join(str(result) for result in results)
    warnings = " ".join(result.warning for result in results if result.warning)
    return f"{found}. {warnings}" if warnings else found


def _last_scans(connection: Connection) -> dict[str, LastScan]:
    return {last.root: last for last in last_scans(connection)}


def _takes_long(connection: Connection, source: Source, last: LastScan | None, remote: bool) -> bool:
    known = manifest.count_present(connection, source.root)
    if known > FILES_PER_TICK or (remote and last is not None and last.seconds > SCAN_SECONDS):
        return True
    return not (source.reads_cheaply or (remote and known))
