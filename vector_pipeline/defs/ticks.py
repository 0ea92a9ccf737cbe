"""A scan inside a tick of a sensor or schedule, if the source is small and near enough, or else a run that scans."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import dagster as dg

from vector_pipeline.defs.assets.source_files import ScanConfig
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.opening import ORDINARY, Opening, TickLimits
from vector_pipeline.defs.resources import NoSource, SourceResource
from vector_pipeline.defs.runs import ACTIVE
from vector_pipeline.errors import PipelineError, counted, one_line
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.base import Source
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.stages.changed_files import scan_changed
from vector_pipeline.stages.scan import ScanResult, scan
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.failures import PostgresError
from vector_pipeline.store.scans import LastScan, last_scans


class TickFailed(Exception):
    """A tick failed: Postgres or the source cannot be reached, or settings are wrong. Its text is one line."""


@dataclass(frozen=True, slots=True)
class TickScan:
    """What a tick found in the sources."""

    results: list[ScanResult] | None
    """None if a separate run must scan them."""
    failed: Sequence[str] = ()
    """A line about each source that cannot be opened, beside others that can."""

    def require_all(self) -> None:
        """Raise TickFailed for a source that cannot be opened. For a tick that has nothing else to report."""
        if self.failed:
            raise TickFailed("; ".join(self.failed))


@contextmanager
def looking(opening: Opening, role: str) -> Iterator[tuple[Pipeline, Connection]]:
    """Open the pipeline and a connection for a tick. Errors become TickFailed, which Dagster shows in red."""
    try:
        with opening.pipeline() as pipeline, pipeline.database.connect(role=role) as connection:
            yield pipeline, connection
    except (PipelineError, PostgresError) as error:
        if isinstance(error, NoSource):
            raise
        raise TickFailed(one_line(error) if isinstance(error, PostgresError) else str(error)) from None


def is_preview(context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext) -> bool:
    """Whether a person asked in the UI what a tick would do ("Preview tick result"), which must write nothing.

    Dagster does not mark such an evaluation. It passes no key for the log of the tick, and the context then creates one
    from the time instead of the id of the tick.
    """
    key = context.log_key
    return key is not None and re.fullmatch(r"\d{8}_\d{6}", key[-1]) is not None


PREVIEW = "a preview lists and changes nothing; a real tick scans the source first. Pending now: "


def preview(connection: Connection) -> dg.SkipReason:
    """What a tick would find, without writing anything."""
    pending, _ = manifest.count_unfinished(connection)
    arrivals = len(manifest.pending_arrivals(connection))
    return dg.SkipReason(f"{PREVIEW}{counted(pending, 'file')} of {counted(arrivals, 'arrival')}")


def notice_seconds(source: Source, last: LastScan | None, limits: TickLimits = ORDINARY) -> float:
    """The time in seconds after which the sensor has normally seen a change of a source with this last scan."""
    if not source.reads_cheaply:
        return 2.0 * limits.scan_every_seconds
    return 2.0 * (limits.interval_seconds + pause_after(last.seconds if last else 0.0, limits))


def pause_after(scan_seconds: float, limits: TickLimits) -> float:
    """The time in seconds without a scan after scans of such a duration, beside the time between two ticks."""
    return min(max(0.0, scan_seconds / limits.scan_share - limits.interval_seconds), limits.slow_for_seconds)


def scan_in_tick(
    connection: Connection,
    pipeline: Pipeline,
    limits: TickLimits,
    trigger: str,
    *,
    max_arrivals: int | None = None,
    remote: bool = False,
    without: Collection[str] = (),
) -> TickScan:
    """Scan the sources, or nothing if a separate run must do that.

    Files that changed within QUIET_SECONDS are skipped, unless they are quiet within the limits' `linger_seconds`. After
    `max_arrivals`, or after too long a time, the rest waits for the next scan. With `remote` the tick also scans a
    remote store whose size and speed earlier scans measured. Roots in `without` are not scanned.
    A source that cannot be opened stops no other. Raises its error if it is the only one.
    """
    opened = SourceResource(pipeline.settings.sources).open(connection)
    sources = [source for source in opened.sources if source.root not in without]
    known = _last_scans(connection)
    if any(_takes_long(connection, source, known.get(source.root), limits, remote) for source in sources):
        return TickScan(None, opened.failed)
    options = replace(
        pipeline.scan_options(trigger, quiet=True, max_arrivals=max_arrivals), max_seconds=limits.scan_seconds
    )
    results = [scan(pipeline.database, source, options) for source in sources]
    _linger(pipeline, sources, options, results, limits)
    return TickScan(results, opened.failed)


def _linger(
    pipeline: Pipeline,
    sources: Sequence[Source],
    options: ScanOptions,
    results: Sequence[ScanResult],
    limits: TickLimits,
) -> None:
    """Wait for files that are quiet in a moment, look at them again, and add what that finds to the results."""
    seconds = max((result.quiet_in for result in results), default=0.0)
    paths = [
        f"{source.folder.rstrip('/')}/{path}"
        for source, result in zip(sources, results, strict=True)
        if isinstance(source, LocalSource) and not result.unfinished
        for path in result.waiting_paths
    ]
    if not paths or seconds > limits.linger_seconds:
        return
    time.sleep(seconds)
    by_root = {result.root: result for result in results}
    for found in scan_changed(pipeline.database, sources, options, paths) or ():
        by_root[found.root].add_waited(found)


def needs_scan_run(connection: Connection, pipeline: Pipeline, limits: TickLimits) -> bool:
    """Whether a run must scan a source: it is too much for a tick with `remote`, or no scan was ever completed."""
    sources = SourceResource(pipeline.settings.sources).open(connection).sources
    known = _last_scans(connection)
    return any(
        source.root not in known or _takes_long(connection, source, known[source.root], limits, remote=True)
        for source in sources
    )


def request_scan(
    instance: dg.DagsterInstance,
    names: Names,
    tags: Mapping[str, str],
    every_seconds: float,
    *,
    without: Sequence[str] = (),
) -> tuple[str, dg.RunRequest | None]:
    """A line for the tick, and a request for a run of `scan`; None if one is active or began a moment ago.

    The run does not scan the roots in `without`.
    """
    job = names.of("scan")
    last = "no other"
    for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=1):
        if record.dagster_run.status in ACTIVE:
            return f"a run of {job} is listing the source", None
        age = time.time() - record.create_timestamp.timestamp()
        # A negative age means that the clock was set back.
        if 0 <= age < every_seconds:
            return f"the last run of {job} began {age:.0f} s ago; the next follows after {every_seconds} s", None
        last = record.dagster_run.run_id
    asset = names.asset("source_files").to_python_identifier()
    return (
        f"the source is large, remote or slow: a run of {job} lists it, at most every {every_seconds} s",
        dg.RunRequest(
            job_name=job,
            # By the last run and not by the time: two ticks request the same run, whatever the clock is set to.
            run_key=f"{job} after {last}",
            run_config=dg.RunConfig({asset: ScanConfig(quiet=True, without=list(without))}),
            tags=dict(tags),
        ),
    )


def summary(results: Sequence[ScanResult]) -> str:
    """The results of scans for a tick's page, with what a person has to decide."""
    found = "; ".join(str(result) for result in results)
    warnings = " ".join(result.warning for result in results if result.warning)
    return f"{found}. {warnings}" if warnings else found


def _last_scans(connection: Connection) -> dict[str, LastScan]:
    return {last.root: last for last in last_scans(connection)}


def _takes_long(connection: Connection, source: Source, last: LastScan | None, limits: TickLimits, remote: bool) -> bool:
    known = manifest.count_present(connection, source.root)
    if known > limits.files_per_tick or (remote and last is not None and last.seconds > limits.scan_seconds):
        return True
    return not (source.reads_cheaply or (remote and known))
