"""Errors of the pipeline for Dagster: one line for the person, and no retry if none can help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from vector_pipeline.errors import (
    DatabaseUnavailable,
    PipelineError,
    ProviderRefused,
    ProviderUnavailable,
    SourceError,
    StorageError,
)
from vector_pipeline.store.failed_arrivals import Failure

# Temporary failures.
PASSING = (DatabaseUnavailable, ProviderUnavailable, SourceError, StorageError)

NEXT: Mapping[Failure, str] = {
    "passing": (
        "source_files_sensor runs the arrival again by itself, soon and then less and less often; materialize the "
        "arrival to have it sooner."
    ),
    "account": (
        "Fix it, then materialize the arrival, or leave it to source_files_sensor, which runs it within a minute of the "
        "next answer from the API (any `vector-pipeline search` or `ingest`), or to backfill_schedule at night."
    ),
    "other": "Fix it, then run `vector-pipeline ingest` or materialize the arrival; backfill_schedule tries at night.",
}
KEPT = "What was paid for is kept."


def kind_of(error: BaseException) -> Failure:
    """The kind of an error: what can be done about it."""
    if isinstance(error, ProviderRefused):
        return "account"
    return "passing" if isinstance(error, PASSING) else "other"


@contextmanager
def explained() -> Iterator[None]:
    """Turn a PipelineError into a dg.Failure with the same line. Dagster retries it only if that can help."""
    try:
        yield
    except PipelineError as error:
        raise failure(error) from error


def failure(error: PipelineError, metadata: Mapping[str, dg.MetadataValue] | None = None) -> dg.Failure:
    """The dg.Failure for a PipelineError: its line, and what happens next."""
    kind = kind_of(error)
    return dg.Failure(
        description=str(error),
        metadata={
            "reason": str(error),
            "error": type(error).__name__,
            "kind": kind,
            "next": f"{NEXT[kind]} {KEPT}",
            **(metadata or {}),
        },
        allow_retries=kind == "passing",
    )
