"""Errors of the pipeline as Dagster shows them: one line for the person, and no retry where none can help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg

from vector_pipeline.errors import DatabaseUnavailable, PipelineError, ProviderUnavailable, SourceError, StorageError

# Failures that may pass by themselves; all others need a person.
PASSING = (DatabaseUnavailable, ProviderUnavailable, SourceError, StorageError)

BY_ITSELF = "backfill_schedule runs it again; materialize the arrival to have it sooner. What was paid for is kept."
BY_HAND = "Fix it, then materialize the arrival, or wait for backfill_schedule. What was paid for is kept."


@contextmanager
def explained() -> Iterator[None]:
    """Turn a PipelineError into a dg.Failure with the same line, which Dagster retries only where that can help."""
    try:
        yield
    except PipelineError as error:
        raise failure(error) from error


def failure(error: PipelineError, metadata: Mapping[str, dg.MetadataValue] | None = None) -> dg.Failure:
    """The dg.Failure for a PipelineError: its line, and what happens next."""
    passes = isinstance(error, PASSING)
    return dg.Failure(
        description=str(error),
        metadata={
            "reason": str(error),
            "error": type(error).__name__,
            "next": BY_ITSELF if passes else BY_HAND,
            **(metadata or {}),
        },
        allow_retries=passes,
    )
