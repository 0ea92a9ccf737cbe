"""`ingest` by hand: scan, then run every pending arrival through Dagster in this process.

The command line calls this. It is the same job on the same instance as in the daemon, so the UI shows these runs too.
Dagster is imported only if there is something to run, because the import takes longer than a scan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from vector_pipeline.local.instance import may_have_started_runs, open_instance_in_process
from vector_pipeline.local.report import IngestReport
from vector_pipeline.pipeline.model import check_model
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.sources.opening import open_sources
from vector_pipeline.stages.roots import gone, gone_line
from vector_pipeline.stages.scan import scan_patiently
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, require_writable
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.lexical.maintenance import has_backlog, maintain_lexical

if TYPE_CHECKING:
    import dagster as dg

    from vector_pipeline.defs.opening import TickLimits

__all__ = ["IngestReport", "ingest"]

MAX_REJECTED = 1_000
"""Files of a source that earlier runs rejected and that a report names."""


def ingest(
    pipeline: Pipeline,
    locations: Sequence[str],
    *,
    instance: dg.DagsterInstance | None = None,
    confirm_deletions: bool = False,
    limits: TickLimits | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> IngestReport:
    """Bring the table in step with some sources. `say` receives each step as a line.

    Without `instance` that of the settings is opened when it is needed: if there is something to run, or if it may list
    runs as started whose process is gone. `limits` has the time after which that is certain.

    Raises ConfigurationError or SourceError if the instance or no source at all can be used, and SpaceMismatch if the
    table holds vectors of another model. If one of several sources cannot be used, the report says so and the others
    are loaded. Later failures are in the report. An interruption (Ctrl-C, SIGTERM) is always raised
    as KeyboardInterrupt.
    """
    began = time.monotonic()
    report = IngestReport()
    settings = pipeline.settings
    sources, report.failures = open_sources(locations)
    with ExitStack() as stack:
        with Kept(pipeline.database, "ingest", log=say) as kept:
            kept.run(require_writable)
            # Before the scan, so that a forgotten or mistyped model is reported at once and not at the first request.
            kept.run(lambda connection: check_model(connection, settings))
            if instance is None and may_have_started_runs(settings):
                instance = stack.enter_context(open_instance_in_process(settings))
            if instance is not None:
                kept.run(partial(_release, instance, settings, limits))
            options = pipeline.scan_options("cli", confirm_deletions=confirm_deletions)
            for source in sources:
                result = scan_patiently(
                    pipeline.database,
                    source,
                    options,
                    progress=lambda _: pipeline.advance("files listed", 1_000),
                    log=say,
                )
                say(f"{result.root}: {result}")
                report.scans.append(result)
                if result.warning:
                    report.failures.append(result.warning)
            report.gone = kept.run(gone)
            for root in report.gone:
                say(gone_line(root))
            prints = pipeline.fingerprints
            kept.run(lambda c: manifest.mark_stale_pending(c, prints.current, rejecting=prints.rejecting))
            arrivals = kept.run(manifest.pending_arrivals)
            pipeline.advance("files to load", kept.run(manifest.count_files).pending)
            has_texts_without_terms = kept.run(has_backlog)
        if arrivals:
            from vector_pipeline.local.arrival_runs import run_arrivals

            instance = instance or stack.enter_context(open_instance_in_process(settings))
            run_arrivals(pipeline, instance, arrivals, report, say)
        elif has_texts_without_terms:
            # An earlier version loaded them. Where something is loaded, the run does this at its end.
            maintain_lexical(pipeline.database, log=say)
        with Kept(pipeline.database, "ingest", log=say) as kept:
            report.rejected_earlier = kept.run(partial(_rejected_earlier, report))
    report.seconds = time.monotonic() - began
    return report


def _release(
    instance: dg.DagsterInstance, settings: Settings, limits: TickLimits | None, connection: Connection
) -> list[str]:
    """Release what runs without a process hold."""
    from vector_pipeline.defs.names import Names
    from vector_pipeline.defs.opening import ORDINARY
    from vector_pipeline.defs.runs import release_abandoned

    return release_abandoned(instance, Names(settings.name), connection, limits or ORDINARY)


def _rejected_earlier(report: IngestReport, connection: Connection) -> dict[str, str]:
    """The files of the scanned sources that earlier runs rejected, and which are so still."""
    return {
        state.path: state.error or ""
        for found in report.scans
        for state in manifest.files_with_status(connection, "rejected", root=found.root, limit=MAX_REJECTED)
        if state.path not in report.rejected
    }
