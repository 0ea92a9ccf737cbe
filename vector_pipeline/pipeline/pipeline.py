"""An open pipeline: its settings, and the database that they name, started, checked and migrated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vector_pipeline.embedding.requests import RequestLimits
from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.formats.pool import ReaderLimits
from vector_pipeline.pipeline.fingerprints import Fingerprints
from vector_pipeline.pipeline.home import prepare_home, remember_database
from vector_pipeline.pipeline.model import client_config, model_name, request_limits
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.redaction import holds_credentials, shown
from vector_pipeline.settings import Settings, available_processors, variable
from vector_pipeline.sources.selection import Choice
from vector_pipeline.store.connection import Database, Owner
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.text_context import recorded_context
from vector_pipeline.text.chunking.chunker import ChunkingConfig
from vector_pipeline.text.chunking.tokens import Tokenizer, tokenizer_for
from vector_pipeline.text.context import Context
from vector_pipeline.text.readers import ReaderOptions

if TYPE_CHECKING:
    # Imported only where it is used, because an `ingest` that finds nothing to do does not need it.
    from vector_pipeline.pipeline.stage_files import StageFiles


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Settings with the values made from them, and a database that is ready."""

    settings: Settings
    database: Database
    progress: Callable[[str, int], None] | None = None
    """Called with the kind of work done and its amount."""
    processes: int = 1
    """The number of processes that load beside each other on this machine, and share its processors."""

    def advance(self, what: str, amount: int) -> None:
        """Report work done."""
        if self.progress is not None:
            self.progress(what, amount)

    def owned_by(self, owner: Owner) -> Pipeline:
        """The same pipeline for the run that owns an arrival and may write for it."""
        return replace(self, database=self.database.owned_by(owner))

    @property
    def client_config(self) -> ClientConfig:
        """The configuration of the embedding client."""
        return client_config(self.settings)

    @property
    def model(self) -> str:
        """The model to use."""
        return model_name(self.settings)

    @property
    def reader_options(self) -> ReaderOptions:
        """The options of the readers."""
        return reader_options_of(self.settings)

    @property
    def choice(self) -> Choice:
        """Which files of a source are wanted."""
        return Choice(self.settings.include, self.settings.exclude)

    @property
    def reader_limits(self) -> ReaderLimits:
        """The limits for reading a file in a process of its own."""
        s = self.settings
        processes = max(1, available_processors() // self.processes)
        return ReaderLimits(seconds=s.reader_seconds, memory=s.reader_memory, processes=processes)

    @property
    def chunking(self) -> ChunkingConfig:
        """The rules for cutting documents."""
        return chunking_of(self.settings)

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. The first call takes about a third of a second to load it."""
        return tokenizer_for(self.settings.model)

    @property
    def request_limits(self) -> RequestLimits:
        """The limits of one request. Its size suits the rate limit, if that is known."""
        return request_limits(self.settings)

    @property
    def stage_files(self) -> StageFiles:
        """The Parquet files of the stages."""
        from vector_pipeline.pipeline.stage_files import StageFiles

        return StageFiles(stage_base(self.settings))

    @property
    def fingerprints(self) -> Fingerprints:
        """The present fingerprint of each kind of file."""
        return fingerprints_of(self.settings)

    def scan_options(
        self, trigger: str, *, confirm_deletions: bool = False, quiet: bool = False, max_arrivals: int | None = None
    ) -> ScanOptions:
        """The options of a scan.

        `quiet` skips files that may still be being written. After `max_arrivals` the rest waits for the next scan.
        """
        s = self.settings
        return ScanOptions(
            max_files=s.max_files_per_arrival,
            max_bytes=s.max_bytes_per_arrival,
            quiet_seconds=s.quiet_seconds if quiet else 0.0,
            max_deleted_share=s.max_deleted_share,
            max_arrivals=max_arrivals,
            confirm_deletions=confirm_deletions,
            trigger=trigger,
            choice=self.choice,
        )


def reader_options_of(settings: Settings) -> ReaderOptions:
    """The options of the readers."""
    s = settings
    return ReaderOptions(max_bytes=s.max_file_bytes, text_field=s.text_field, id_field=s.id_field)


def chunking_of(settings: Settings) -> ChunkingConfig:
    """The rules for cutting documents."""
    overlap = 0 if settings.chunk_strategy == "paragraph" else settings.chunk_overlap
    return ChunkingConfig(
        strategy=settings.chunk_strategy,
        max_tokens=settings.chunk_tokens,
        overlap=overlap,
        context=settings.context or "none",
    )


def fingerprints_of(settings: Settings) -> Fingerprints:
    """The present fingerprint of each kind of file."""
    s = settings
    # The model refuses some texts, and readers in processes of their own have limits.
    server = urlsplit(s.openai_base_url or "").hostname
    limits: tuple[object, ...] = (s.reader_seconds, s.reader_memory, s.model, s.dimensions, server)
    if s.document_prefix:
        limits += (s.document_prefix,)
    return Fingerprints.under(chunking_of(s), reader_options_of(s), *limits)


def stage_base(settings: Settings) -> str:
    """The folder of the stage files. Pipelines that share a storage have folders of their own, by name.

    Raises ConfigurationError if the URL holds credentials: it is shown with each stage file.
    """
    if holds_credentials(settings.storage_url):
        raise ConfigurationError(
            f"{variable('storage')} is '{shown(settings.storage_url)}' and holds credentials: "
            "leave them to the environment"
        )
    return f"{settings.storage_url}/{settings.name}" if settings.name else settings.storage_url


@contextmanager
def open_pipeline(settings: Settings, *, progress: Callable[[str, int], None] | None = None) -> Iterator[Pipeline]:
    """Open a pipeline: start or reach the database that the settings name, and migrate its schema.

    An embedded server runs while the context is open. Raises ConfigurationError if the settings contradict what the home
    was used with, or the home cannot be written; DatabaseUnavailable if Postgres cannot be reached; DatabaseError if it
    lacks something.
    """
    home = prepare_home(settings)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        database = Database(url, settings.db_schema, retry_seconds=settings.retry_seconds)
        migrate(database)
        remember_database(home, database.safe_url)
        yield Pipeline(_with_context(settings, database), database, progress)
        return
    server = EmbeddedServer.start(home)
    try:
        database = Database(server.url, settings.db_schema, embedded=True, retry_seconds=settings.retry_seconds)
        migrate(database)
        yield Pipeline(_with_context(settings, database), database, progress)
    finally:
        server.close()


def _with_context(settings: Settings, database: Database) -> Settings:
    """Settings with the context that texts have, where they leave it open: no vector is paid for again unasked."""
    if settings.context is not None:
        return settings
    with database.connect(role="context") as connection:
        recorded = recorded_context(connection)
    # Under `title` a renamed file is embedded anew: as a default only where that costs nothing.
    free = settings.uses_embedded_model and settings.chunk_strategy != "paragraph"
    default: Context = "title" if free else "none"
    return settings.model_copy(update={"context": recorded or default})
