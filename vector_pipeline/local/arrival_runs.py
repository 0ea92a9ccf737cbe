"""Runs of pending arrivals in this process, and what they add to a report.

They follow one another: two runs in one process would set up logging at the same time, which deadlocks in Dagster (seen
with 1.13.27). Inside a run requests go side by side all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import dagster as dg

from vector_pipeline.defs.assets.source_files import register_arrivals, scan_metadata
from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.run_failures import reason_of
from vector_pipeline.defs.runs import TRIGGER, was_run_interrupted
from vector_pipeline.local.report import IngestReport
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store import fencing, manifest
from vector_pipeline.store.connection import Connection, Owner
from vector_pipeline.store.failed_arrivals import fail_attempt, failed_arrivals
from vector_pipeline.store.kept import Kept, repeated
from vector_pipeline.store.locks import in_progress

# Dagster's own log lines, 42 a run, would drown the report; what matters of a failure is in its description.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class LocalRuns:
    """Runs of one pipeline in this process, and the definitions that they share."""

    def __init__(self, pipeline: Pipeline, instance: dg.DagsterInstance, say: Callable[[str], None]) -> None:
        self._pipeline = pipeline
        self._instance = instance
        self._say = say
        self._report = IngestReport()
        self._names = Names(pipeline.settings.name)
        definitions = build_definitions(
            pipeline.settings, opened=pipeline, finished=lambda outcome: self._report.add(outcome), say=say
        )
        self._ingest = definitions.resolve_job_def(self._names.of("ingest"))
        self._index = definitions.resolve_job_def(self._names.of("index"))
        self.index_is_due = False
        """Whether arrivals were run since the last run of `index`."""

    def register(self, arrivals: list[str], report: IngestReport) -> None:
        """Register arrivals as partitions of the instance, and report the scan to it."""
        register_arrivals(self._instance, self._names, arrivals)
        counts = repeated(self._pipeline.database, "ingest", manifest.count_files)
        # The scan was none of Dagster's: the UI shows it as it shows those of the sensor.
        scanned = dg.AssetMaterialization(
            self._names.asset("source_files"), metadata=scan_metadata(report.scans, counts, arrivals)
        )
        self._instance.report_runless_asset_event(scanned)

    def run_arrival(self, arrival: str, report: IngestReport) -> None:
        """Run the job `ingest` for an arrival, and add what it did to the report.

        Raises KeyboardInterrupt where the run was interrupted.
        """
        self._report = report
        self.index_is_due = True
        owner = repeated(self._pipeline.database, "ingest", partial(fencing.next_owner, arrival=arrival))
        result = self._run(arrival)
        if result is not None and was_run_interrupted(result.all_events):
            # Dagster catches Ctrl-C and takes it for a failure of the run.
            raise KeyboardInterrupt
        _add(report, self._pipeline, owner, result)
        self._say(f"arrival {arrival}: {'done' if result is None or result.success else 'failed'}")

    def _run(self, arrival: str) -> dg.ExecuteInProcessResult | None:
        # Wait for another run of this arrival (one of the daemon's) to end.
        def wait(connection: Connection) -> int:
            while in_progress(connection, [arrival]):
                time.sleep(0.5)
            return manifest.count_files(connection, arrival).pending

        if not repeated(self._pipeline.database, "ingest", wait):
            return None
        return self._ingest.execute_in_process(
            partition_key=arrival,
            instance=self._instance,
            run_config=QUIET,
            tags={TRIGGER: "cli"},
            raise_on_error=False,
        )

    def run_index(self, report: IngestReport) -> None:
        """Run the job `index`, and add what failed to the report. Raises KeyboardInterrupt where it was interrupted."""
        self.index_is_due = False
        result = self._index.execute_in_process(
            instance=self._instance, run_config=QUIET, tags={TRIGGER: "cli"}, raise_on_error=False
        )
        if was_run_interrupted(result.all_events):
            raise KeyboardInterrupt
        if not result.success:
            report.failures.append(f"vector_index: {reason_of(result.get_step_failure_events())[0]}")


def _add(report: IngestReport, pipeline: Pipeline, owner: Owner, result: dg.ExecuteInProcessResult | None) -> None:
    arrival = owner.arrival
    report.arrivals += 1
    if result is not None and not result.success:
        reason, kind = reason_of(result.get_step_failure_events())
        report.failures.append(f"arrival {arrival}: {reason}")
        with pipeline.owned_by(owner).database.connect(role="ingest") as connection:
            if result.run_id not in [found.failed_run for found in failed_arrivals(connection, [arrival])]:
                fail_attempt(connection, arrival, reason, kind, run=result.run_id)
    with Kept(pipeline.database, "ingest") as kept:
        report.pending += kept.run(partial(manifest.count_files, arrival=arrival)).pending
        for state in kept.run(lambda connection: manifest.files_with_status(connection, "rejected", arrival=arrival)):
            report.rejected[state.path] = state.error or ""
