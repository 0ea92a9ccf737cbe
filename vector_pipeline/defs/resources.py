"""The resources of assets: the database (`postgres`), the source, and the embedding API (`openai`).

Resources only open things; the work is in `stages/`. No secret is part of a resource's configuration: keys and the URL
of the database are read from the environment when a run starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import dagster as dg

from vector_pipeline.defs.failures import explained
from vector_pipeline.defs.opening import Opening
from vector_pipeline.errors import ConfigurationError, PipelineError, SourceError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import Settings, variable
from vector_pipeline.sources.base import Source
from vector_pipeline.sources.opening import open_sources
from vector_pipeline.stages.roots import gone, gone_line, known_as, open_root
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.failed_arrivals import Failure, fail_attempt
from vector_pipeline.store.failures import PostgresError
from vector_pipeline.store.kept import repeated
from vector_pipeline.store.run_locks import RunLocks


@dataclass(slots=True)
class PostgresResource:
    """The pipeline's database, open while the run lasts, with the locks of the run."""

    pipeline: Pipeline
    _locks: RunLocks

    def hold(self, context: dg.AssetExecutionContext, arrival: str) -> bool:
        """Hold an arrival until this run ends. Wait while another run holds it.

        After that the pipeline's connections write as its owner, until another run takes it over. Returns whether
        another run held it before and left nothing of it pending.
        """
        waited = self._locks.hold_arrival(arrival, log=context.log.info)
        self.pipeline = self.pipeline.owned_by(self._locks.owner(arrival))
        if not waited:
            return False
        counts = repeated(
            self.pipeline.database, "arrival", lambda connection: manifest.count_files(connection, arrival)
        )
        return counts.pending == 0

    def note(self, arrival: str, reason: str, failure: Failure, run: str) -> dict[str, dg.MetadataValue]:
        """Note why a run of an arrival failed; returns its counts of files, none where the database is away."""
        try:
            with self.pipeline.database.connect(role="failure") as connection:
                fail_attempt(connection, arrival, reason, failure, run=run)
                counts = manifest.count_files(connection, arrival)
        except (PipelineError, PostgresError):
            return {}
        return {
            "files_loaded": dg.MetadataValue.int(counts.loaded),
            "files_pending": dg.MetadataValue.int(counts.pending),
            "files_rejected": dg.MetadataValue.int(counts.rejected),
        }


def postgres_resource(opening: Opening) -> dg.ResourceDefinition:
    """`postgres`: opens the database for a run, or takes the pipeline that this process holds open."""

    @contextmanager
    def open_for_run(context: dg.InitResourceContext) -> Iterator[PostgresResource]:
        with ExitStack() as stack:
            with explained():
                pipeline = stack.enter_context(opening.pipeline())
                run = context.run.run_id if context.run else ""
                locks = stack.enter_context(RunLocks(pipeline.database, f"run {run}"))
                locks.hold_run(run)
            yield PostgresResource(pipeline, locks)

    return dg.ResourceDefinition(
        open_for_run,
        description="Postgres with pgvector: DATABASE_URL, or the embedded server under the pipeline's home.",
    )


class NoSource(ConfigurationError):
    """Neither do the settings name a source, nor was one ever ingested: there is nothing to look at yet."""


@dataclass(frozen=True, slots=True)
class OpenedSources:
    """The sources that can be opened, and a line about each of the others."""

    sources: list[Source]
    failed: list[str] = field(default_factory=list)

    def require_all(self) -> None:
        """Raise SourceError for one that cannot be opened. Call it when the others are done: it stops none of them."""
        if self.failed:
            raise SourceError(self.failed[0])


@dataclass(frozen=True, slots=True)
class SourceResource:
    """Where the text lies."""

    locations: Sequence[str]

    def open(self, connection: Connection) -> OpenedSources:
        """The sources that the settings name; else all that were ingested before.

        Raises NoSource where there are neither, and ConfigurationError or SourceError where none can be opened.
        """
        if self.locations:
            opened, failed = open_sources(self.locations)
            return OpenedSources([known_as(connection, source) for source in opened], failed)
        known = manifest.known_roots(connection)
        if not known:
            raise NoSource(
                f"{variable('source')} is not set and nothing was ingested yet: set it to a folder or URL, or run "
                "`vector-pipeline ingest FOLDER`"
            )
        missing = gone(connection)
        if len(missing) == len(known):
            raise SourceError(gone_line(missing[0]))
        # One that is gone stops no other.
        return OpenedSources([open_root(connection, root) for root in known if root not in missing])


def source_resource(settings: Settings) -> dg.ResourceDefinition:
    """`source`: the folders and URLs that are kept in step with."""

    def source(_: dg.InitResourceContext) -> SourceResource:
        return SourceResource(settings.sources)

    shown = ", ".join(settings.sources) or "every folder or URL that was ingested before"
    return dg.ResourceDefinition(source, description=f"The text: {shown}.")
