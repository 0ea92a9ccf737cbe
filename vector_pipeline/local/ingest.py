"""`ingest` by hand: scan, then run every pending arrival through Dagster in this process.

The command line calls this. It is the same job on the same instance as in the daemon, so the UI shows these runs too.
Dagster is imported only if there is something to run, because the import takes longer than a scan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

from vector_pipeline.errors import DatabaseError, SourceError
from vector_pipeline.local.beside import InstancePlace
from vector_pipeline.local.instance import may_have_started_runs, open_instance_in_process
from vector_pipeline.local.report import IngestReport
from vector_pipeline.local.turns import Turns
from vector_pipeline.pipeline.model import check_model, require_model
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.settings import Settings
from vector_pipeline.sources.base import Source
from vector_pipeline.sources.opening import open_sources
from vector_pipeline.stages.changed_files import scan_changed
from vector_pipeline.stages.roots import gone, gone_line
from vector_pipeline.stages.scan import scan_patiently
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, require_writable
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.lexical.maintenance import has_backlog, maintain_lexical

if TYPE_CHECKING:
    import dagster as dg

    from vector_pipeline.defs.opening import TickLimits
    from vector_pipeline.local.arrival_runs import LocalRuns
    from vector_pipeline.stages.bucket_events import Received

__all__ = ["IngestReport", "Ingesting", "ingest"]

MAX_REJECTED = 1_000
"""Files of a source that earlier runs rejected and that a report names."""


def ingest(
    pipeline: Pipeline,
    locations: Sequence[str],
    *,
    instance: dg.DagsterInstance | None = None,
    place: InstancePlace | None = None,
    confirm_deletions: bool = False,
    limits: TickLimits | None = None,
    processes: int | None = 1,
    say: Callable[[str], None] = lambda _: None,
) -> IngestReport:
    """Bring the table in step with some sources. `say` receives each step as a line.

    `processes` load arrivals side by side, this one among them; None: `default_processes` of them. More than one need
    the instance at `place`, and a main module that can be imported without effect (see multiprocessing).

    Without `instance` that at `place` (default: that of the settings) is opened when it is needed: if there is something
    to run, or if it may list runs as started whose process is gone. `limits` has the time after which that is certain.

    Raises ConfigurationError or SourceError if the instance or no source at all can be used, and SpaceMismatch if the
    table holds vectors of another model. If one of several sources cannot be used, the report says so and the others
    are loaded. Later failures are in the report. An interruption (Ctrl-C, SIGTERM) is always raised
    as KeyboardInterrupt.
    """
    with Ingesting(pipeline, instance=instance, place=place, limits=limits, processes=processes, say=say) as ingesting:
        return ingesting.ingest(locations, confirm_deletions=confirm_deletions)


class Ingesting:
    """Several calls of `ingest`, which share Dagster's instance and the definitions. Use as a context manager."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        instance: dg.DagsterInstance | None = None,
        place: InstancePlace | None = None,
        limits: TickLimits | None = None,
        processes: int | None = 1,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._pipeline = pipeline
        self._processes = processes
        self._instance = instance
        self._place = place
        self._limits = limits
        self._say = say
        self._runs: LocalRuns | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def index_is_due(self) -> bool:
        """Whether arrivals were run and the index was not maintained since."""
        return self._runs is not None and self._runs.index_is_due

    def ingest(
        self,
        locations: Sequence[str],
        *,
        confirm_deletions: bool = False,
        changed: Collection[str] | None = None,
        events: Received | None = None,
    ) -> IngestReport:
        """Like the function `ingest`.

        `changed` are the absolute paths of files that are known to have changed. If looking at those is enough, the
        sources are not scanned, and the index is left for a later call without `changed`. `events` are messages about
        objects of buckets, which are looked at too, and deleted.
        """
        began = time.monotonic()
        report = IngestReport()
        sources, report.failures = open_sources(locations)
        with Kept(self._pipeline.database, "ingest", log=self._say) as kept:
            self._prepare(kept)
            options = self._pipeline.scan_options("cli", confirm_deletions=confirm_deletions)
            if events is not None:
                self._take(events, options, report)
            in_part = self._scan(sources, options, changed, report)
            self._look_for_gone(kept, report)
            arrivals, has_texts_without_terms = self._pending(kept)
        with self._reported(report):
            if arrivals:
                self._run(arrivals, report)
            if self.index_is_due and not in_part:
                self._local_runs().run_index(report)
            elif has_texts_without_terms and not arrivals:
                # An earlier version loaded them. Where something is loaded, the run does this at its end.
                maintain_lexical(self._pipeline.database, log=self._say)
            with Kept(self._pipeline.database, "ingest", log=self._say) as kept:
                report.rejected_earlier = kept.run(partial(_rejected_earlier, report))
        report.seconds = time.monotonic() - began
        return report

    @contextmanager
    def _reported(self, report: IngestReport) -> Iterator[None]:
        """After something was paid, report it, however the runs end.

        An error of Postgres becomes a failure in the report. Before any other error a line says what was paid.
        """
        try:
            yield
        except DatabaseError as error:
            if not report.requests:
                raise
            report.failures.append(str(error))
        except BaseException:
            if report.requests:
                self._say(
                    f"paid until then: {report.embedded:,} texts, {report.tokens:,} tokens, {report.requests:,} "
                    "requests; what was answered is kept"
                )
            raise

    def _prepare(self, kept: Kept) -> None:
        settings = self._pipeline.settings
        kept.run(require_writable)
        # Before the scan, so that a forgotten or mistyped model is reported at once and not at the first request.
        require_model(settings)
        kept.run(lambda connection: check_model(connection, settings))
        if self._instance is None and may_have_started_runs(settings, self._place):
            self._open_instance()
        if self._instance is not None:
            kept.run(partial(_release, self._instance, settings, self._limits))

    def _scan(
        self,
        sources: Sequence[Source],
        options: ScanOptions,
        changed: Collection[str] | None,
        report: IngestReport,
    ) -> bool:
        """Scan the sources, or only what changed in them; returns whether the latter was enough."""
        found = None if changed is None else scan_changed(self._pipeline.database, sources, options, changed)
        if found is not None:
            report.scans += found
            return True
        for source in sources:
            self._scan_whole(source, options, report)
        return False

    def _scan_whole(self, source: Source, options: ScanOptions, report: IngestReport) -> None:
        result = scan_patiently(
            self._pipeline.database,
            source,
            options,
            progress=lambda _: self._pipeline.advance("files listed", 1_000),
            log=self._say,
        )
        self._say(f"{result.root}: {result}")
        report.scans.append(result)
        if result.warning:
            report.failures.append(result.warning)

    def _take(self, events: Received, options: ScanOptions, report: IngestReport) -> None:
        """Look at what events name. What keeps that from being done is a failure in the report."""
        # This imports fsspec, which only buckets need.
        from vector_pipeline.stages.bucket_events import scan_events

        try:
            taken = scan_events(self._pipeline.database, events, options, log=self._say)
        except SourceError as error:
            report.failures.append(str(error))
            return
        report.scans += taken.results
        for source in events.sources:
            if source.root in taken.rules_changed:
                self._scan_whole(source, options, report)

    def _look_for_gone(self, kept: Kept, report: IngestReport) -> None:
        report.gone = kept.run(gone)
        for root in report.gone:
            self._say(gone_line(root))

    def _pending(self, kept: Kept) -> tuple[list[str], bool]:
        """The arrivals to run, and whether there are texts without terms."""
        prints = self._pipeline.fingerprints
        kept.run(lambda c: manifest.mark_stale_pending(c, prints.current, rejecting=prints.rejecting))
        arrivals = kept.run(manifest.pending_arrivals)
        self._pipeline.advance("files to load", kept.run(manifest.count_files).pending)
        return arrivals, kept.run(has_backlog)

    def _open_instance(self) -> dg.DagsterInstance:
        if self._instance is None:
            opened = open_instance_in_process(self._pipeline.settings, self._place)
            self._instance = self._opened.enter_context(opened)
        return self._instance

    def _run(self, arrivals: list[str], report: IngestReport) -> None:
        """Run arrivals here and in workers, and then those that workers left behind."""
        from vector_pipeline.local.workers import Workers, default_processes

        wanted = default_processes(self._pipeline.model, len(arrivals)) if self._processes is None else self._processes
        workers = Workers(self._pipeline, self._place, min(wanted, len(arrivals)), self._say)
        runs = self._local_runs()
        runs.register(arrivals, report)
        with Turns(self._pipeline.database, arrivals, self._say) as turns:
            with workers.running(turns, report) as left:
                for arrival in turns:
                    runs.run_arrival(arrival, report)
            report.elsewhere += turns.elsewhere
        self._count_unreported(workers.unreported, report)
        with Turns(self._pipeline.database, left, self._say) as turns:
            for arrival in turns:
                runs.run_arrival(arrival, report)
        runs.index_is_due |= report.arrivals > 0

    def _count_unreported(self, arrivals: list[str], report: IngestReport) -> None:
        """Count what workers without a report had done of their last arrivals. Those still pending are run here."""
        with Kept(self._pipeline.database, "ingest") as kept:
            for arrival in arrivals:
                found = kept.run(partial(manifest.count_files, arrival=arrival))
                report.loaded += found.loaded
                report.deleted += found.deleted
                if not found.pending:
                    report.arrivals += 1
                    report.rejected |= kept.run(partial(_rejected_of, arrival=arrival))

    def _local_runs(self) -> LocalRuns:
        if self._runs is None:
            from vector_pipeline.local.arrival_runs import LocalRuns

            self._runs = LocalRuns(self._pipeline, self._open_instance(), self._say)
        return self._runs


def _release(
    instance: dg.DagsterInstance, settings: Settings, limits: TickLimits | None, connection: Connection
) -> list[str]:
    """Release what runs without a process hold."""
    from vector_pipeline.defs.names import Names
    from vector_pipeline.defs.opening import ORDINARY
    from vector_pipeline.defs.runs import release_abandoned

    return release_abandoned(instance, Names(settings.name), connection, limits or ORDINARY)


def _rejected_of(connection: Connection, arrival: str) -> dict[str, str]:
    return {
        state.path: state.error or "" for state in manifest.files_with_status(connection, "rejected", arrival=arrival)
    }


def _rejected_earlier(report: IngestReport, connection: Connection) -> dict[str, str]:
    """The files of the scanned sources that earlier runs rejected, and which are so still."""
    return {
        state.path: state.error or ""
        for found in report.scans
        for state in manifest.files_with_status(connection, "rejected", root=found.root, limit=MAX_REJECTED)
        if state.path not in report.rejected
    }
