"""The beginning of every asset, check and op: the database of the run, the source, and its arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import dagster as dg

from vector_pipeline.defs.failures import failure, kind_of
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.resources import PostgresResource, SourceResource
from vector_pipeline.errors import ConfigurationError, PipelineError, one_line
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store import manifest


class _HasResources(Protocol):
    @property
    def resources(self) -> Any: ...


def pipeline_of(context: _HasResources, names: Names) -> Pipeline:
    """The open pipeline of the run."""
    return _postgres(context, names).pipeline


def source_of(context: _HasResources, names: Names) -> SourceResource:
    """The source of the run."""
    return cast(SourceResource, getattr(context.resources, names.of("source")))


def _postgres(context: _HasResources, names: Names) -> PostgresResource:
    return cast(PostgresResource, getattr(context.resources, names.of("postgres")))


@dataclass(frozen=True, slots=True)
class Work:
    """An arrival that this run holds, and its pipeline."""

    pipeline: Pipeline
    arrival: str
    is_done: bool
    """Whether another run held the arrival before and left nothing of it pending."""


@contextmanager
def work_on(
    context: dg.AssetExecutionContext,
    names: Names,
    done: Callable[[], Mapping[str, dg.MetadataValue]] = dict,
) -> Iterator[Work]:
    """Hold the run's arrival until the run ends. Wait while another run holds it.

    An error in the block is recorded with the arrival's files, and `status` shows it. A PipelineError becomes a
    dg.Failure; `done` returns metadata about the work before it.
    """
    database, arrival, run = _postgres(context, names), context.partition_key, context.run.run_id
    try:
        is_done = database.hold(context, arrival)
        _look_at(context, database.pipeline, arrival)
        yield Work(database.pipeline, arrival, is_done)
    except PipelineError as error:
        counts = database.note(arrival, str(error), kind_of(error), run)
        raise failure(error, {**counts, **done()}) from error
    except dg.DagsterExecutionInterruptedError:
        database.note(arrival, "the run was ended before it was done; what was paid for is kept", "other", run)
        raise
    except Exception as error:
        database.note(arrival, f"{type(error).__name__}: {one_line(error)}", "other", run)
        raise


def _look_at(context: dg.AssetExecutionContext, pipeline: Pipeline, arrival: str) -> None:
    """Raise ConfigurationError for a partition that no scan created. Warn about one that no longer owns files."""
    with pipeline.database.connect(role="arrival") as connection:
        if not manifest.is_arrival(connection, arrival):
            raise ConfigurationError(
                f"partition '{arrival}' is not an arrival of this database: scans create arrivals, and the last ones "
                "may be missing after a failover or a restore; run `vector-pipeline ingest`, or materialize "
                "source_files and choose one of those that it registers"
            )
        if not manifest.owned_files(connection, arrival):
            context.log.warning(
                f"arrival {arrival} no longer owns any file: later arrivals own its files, so there is nothing to do"
            )
