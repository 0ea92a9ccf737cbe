"""What assets ask for by name: the database (`postgres`), the source, and the embedding API (`openai`).

Resources open things and nothing else; the work is in `stages/`. No secret is part of a resource's configuration:
keys and the database's URL are read from the environment when a run starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import dagster as dg

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import Settings, variable
from vector_pipeline.sources.source import Source, open_source
from vector_pipeline.stages.arrivals import hold_arrival
from vector_pipeline.stages.pipeline import Pipeline, open_pipeline
from vector_pipeline.store import manifest


@dataclass(slots=True)
class PostgresResource:
    """The pipeline's database, open while the run lasts, and the arrivals that the run holds."""

    pipeline: Pipeline
    _held: set[str] = field(default_factory=set)
    _locks: ExitStack = field(default_factory=ExitStack)

    def hold(self, context: dg.AssetExecutionContext, arrival: str) -> None:
        """Take an arrival for this run, waiting while another has it; kept until the run ends."""
        if arrival not in self._held:
            self._locks.enter_context(hold_arrival(self.pipeline.database, arrival, log=context.log.info))
            self._held.add(arrival)

    def close(self) -> None:
        """Give back what is held."""
        self._locks.close()


def postgres_resource(settings: Settings, opened: Pipeline | None) -> dg.ResourceDefinition:
    """`postgres`: opens the database for a run, or takes the pipeline that the caller holds open."""

    @contextmanager
    def open_for_run(_: dg.InitResourceContext) -> Iterator[PostgresResource]:
        with ExitStack() as stack:
            try:
                pipeline = opened or stack.enter_context(open_pipeline(settings))
            except Exception as error:
                raise dg.Failure(str(error), allow_retries=False) from error
            resource = PostgresResource(pipeline)
            stack.callback(resource.close)
            yield resource

    return dg.ResourceDefinition(
        open_for_run,
        description="Postgres with pgvector: DATABASE_URL, or the embedded server under the pipeline's home.",
    )


@dataclass(frozen=True, slots=True)
class SourceResource:
    """Where the text lies."""

    location: str | None

    def open(self, connection: manifest.Connection) -> list[Source]:
        """The source that the settings name; else all that were ingested before.

        Raises ConfigurationError where there is neither.
        """
        locations = [self.location] if self.location else manifest.known_roots(connection)
        if not locations:
            raise ConfigurationError(
                f"{variable('source')} is not set and nothing was ingested yet: set it to a folder or URL, or run "
                "`vector-pipeline ingest FOLDER`"
            )
        return [open_source(location) for location in locations]


def source_resource(settings: Settings) -> dg.ResourceDefinition:
    """`source`: the folder or URL that is kept in step with."""
    return dg.ResourceDefinition(
        lambda _: SourceResource(settings.source),
        description=f"The text: {settings.source or 'every folder or URL that was ingested before'}.",
    )
