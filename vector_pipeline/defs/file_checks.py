"""The results of two checks on whether every file is loaded, for a run or a tick of the sensor."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from vector_pipeline.defs.names import CHECKS, Names
from vector_pipeline.defs.pictures import outcome_table
from vector_pipeline.errors import counted
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.failed_arrivals import failed_arrivals, waiting_files

# Pending files count as late if no run has worked on them for this time.
LATE_SECONDS = 3_600.0

SHOWN = 200


@dataclass(frozen=True, slots=True)
class FileState:
    """The numbers of files that are not loaded, by reason."""

    pending: int
    rejected: int
    failed: int
    """Pending files of arrivals whose last run failed."""
    late: int
    """Pending files that no run has worked on for an hour."""

    @classmethod
    def read(cls, connection: Connection) -> FileState:
        """Read the state now. It reads only files that are not loaded."""
        pending, rejected = manifest.count_unfinished(connection)
        failed = sum(found.files for found in failed_arrivals(connection)) if pending else 0
        return cls(pending, rejected, failed, waiting_files(connection, LATE_SECONDS) if pending else 0)


def all_files_loaded(connection: Connection, state: FileState) -> dg.AssetCheckResult:
    """The check `all_files_loaded`: an error if loads failed, a warning if files are rejected or late.

    It passes for files that are pending because a run is loading them or will soon.
    """
    counts = manifest.count_files(connection)
    open_files = manifest.files_with_status(connection, "rejected", "pending", limit=SHOWN)
    several = len(manifest.known_roots(connection)) > 1
    why = f" ({state.failed:,} of them failed)" if state.failed else f" ({state.late:,} late)" if state.late else ""
    loaded = counted(counts.loaded, "file")
    return dg.AssetCheckResult(
        passed=not (state.rejected or state.failed or state.late),
        severity=dg.AssetCheckSeverity.ERROR if state.failed else dg.AssetCheckSeverity.WARN,
        description=f"{loaded} loaded, {counts.pending:,} pending{why}, {counts.rejected:,} rejected",
        metadata={
            "files_loaded": counts.loaded,
            "files_pending": counts.pending,
            "files_failed": state.failed,
            "files_rejected": counts.rejected,
            "files_deleted": counts.deleted,
            "files": outcome_table(
                (f"{f.root}/{f.path}" if several else f.path, f.status, f.error or "") for f in open_files
            ),
        },
    )


def no_files_rejected(connection: Connection, state: FileState) -> dg.AssetCheckResult:
    """The check `no_files_rejected`: a warning if files cannot be read or embedded, with the reasons."""
    rejected = manifest.files_with_status(connection, "rejected", limit=SHOWN) if state.rejected else []
    found = f"{counted(state.rejected, 'file is', 'files are')} rejected"
    return dg.AssetCheckResult(
        passed=not state.rejected,
        severity=dg.AssetCheckSeverity.WARN,
        description=found if state.rejected else "every file can be read",
        metadata={
            "files_rejected": state.rejected,
            "files": outcome_table((f.path, "rejected", f.error or "") for f in rejected),
        },
    )


def evaluations(connection: Connection, names: Names, state: FileState) -> list[dg.AssetCheckEvaluation]:
    """Both results in the form that a sensor reports."""
    results = {
        "all_files_loaded": all_files_loaded(connection, state),
        "no_files_rejected": no_files_rejected(connection, state),
    }
    return [
        dg.AssetCheckEvaluation(
            asset_key=names.asset(CHECKS[name]),
            check_name=name,
            passed=result.passed,
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
        )
        for name, result in results.items()
    ]
