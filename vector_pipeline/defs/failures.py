"""Errors of the pipeline as Dagster shows them: one line for the person, and no retry where none can help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from vector_pipeline.errors import DatabaseUnavailable, PipelineError, ProviderUnavailable, SourceError

# Failures that may pass by themselves; all others want a person.
PASSING = (DatabaseUnavailable, ProviderUnavailable, SourceError)


@contextmanager
def explained() -> Iterator[None]:
    """Turn an error raised on purpose into a dg.Failure with its line, marked not to be retried where that is vain."""
    try:
        yield
    except PipelineError as error:
        raise failure(error) from error


def failure(error: PipelineError) -> dg.Failure:
    """The dg.Failure for an error raised on purpose."""
    return dg.Failure(
        description=str(error),
        metadata={"error": type(error).__name__},
        allow_retries=isinstance(error, PASSING),
    )
