"""What every asset, check and op begins with: the database of the run, the source, and the arrival that it works on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import dagster as dg

from vector_pipeline.defs.failures import failure
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.resources import PostgresResource, SourceResource
from vector_pipeline.errors import PipelineError
from vector_pipeline.pipeline.pipeline import Pipeline


class _HasResources(Protocol):
    @property
    def resources(self) -> Any: ...


def pipeline_of(context: _HasResources, names: Names) -> Pipeline:
    """The pipeline that the run has open."""
    return _postgres(context, names).pipeline


def source_of(context: _HasResources, names: Names) -> SourceResource:
    """The source of the run."""
    return cast(SourceResource, getattr(context.resources, names.of("source")))


def _postgres(context: _HasResources, names: Names) -> PostgresResource:
    return cast(PostgresResource, getattr(context.resources, names.of("postgres")))


@dataclass(frozen=True, slots=True)
class Work:
    """An arrival that this run holds, and the pipeline that it is done with."""

    pipeline: Pipeline
    arrival: str
    is_done: bool
    """Another run held the arrival before and left nothing of it pending."""


@contextmanager
def work_on(
    context: dg.AssetExecutionContext,
    names: Names,
    done: Callable[[], Mapping[str, dg.MetadataValue]] = dict,
) -> Iterator[Work]:
    """Hold the run's arrival, waiting while another run does; the run keeps it until its end.

    A PipelineError in the block is noted with the arrival's files, where `status` shows it, and becomes a dg.Failure;
    `done` gives what was done before it, as metadata.
    """
    database, arrival = _postgres(context, names), context.partition_key
    try:
        is_done = database.hold(context, arrival)
        yield Work(database.pipeline, arrival, is_done)
    except PipelineError as error:
        raise failure(error, {**database.note(arrival, str(error)), **done()}) from error
