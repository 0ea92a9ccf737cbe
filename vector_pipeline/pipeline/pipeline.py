"""A pipeline that is open for work: its settings, with the database they name started, checked and migrated."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vector_pipeline.embedding.providers.base import Provider
from vector_pipeline.embedding.requests import RequestLimits
from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.formats.pool import ReaderLimits
from vector_pipeline.pipeline.fingerprints import Fingerprints
from vector_pipeline.pipeline.model import client_config, model_name, provider_of, request_limits
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.settings import Settings, variable
from vector_pipeline.sources.selection import Choice
from vector_pipeline.store.connection import Database, Owner
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.schema import migrate
from vector_pipeline.text.chunking.chunker import ChunkingConfig
from vector_pipeline.text.chunking.tokens import Tokenizer, tokenizer_for
from vector_pipeline.text.readers import ReaderOptions

if TYPE_CHECKING:
    # Imported where they are used: an `ingest` that finds nothing to do needs none of it.
    from vector_pipeline.pipeline.stage_files import StageFiles

# Names the database that a home was used with, so that a forgotten variable does not quietly start an empty one.
USED_DATABASE = "used_database"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Settings, and what follows from them, with a database that is ready."""

    settings: Settings
    database: Database
    progress: Callable[[str, int], None] | None = None
    """Told of work as it is done: what, and how much more of it."""
    made_provider: list[Provider] = field(default_factory=list, repr=False)
    """The provider once it was made; the embedded one keeps its model as long as the pipeline is open."""
    loaded_tokenizer: list[Tokenizer] = field(default_factory=list, repr=False)
    """The tokenizer likewise."""

    def advance(self, what: str, amount: int) -> None:
        """Tell of work done."""
        if self.progress is not None:
            self.progress(what, amount)

    def owned_by(self, owner: Owner) -> Pipeline:
        """The same pipeline, for the run that owns an arrival to write in."""
        return replace(self, database=self.database.owned_by(owner))

    @property
    def client_config(self) -> ClientConfig:
        """What an embedding client is made with."""
        if not self.made_provider:
            self.made_provider.append(provider_of(self.settings))
        return client_config(self.settings, self.made_provider[0])

    @property
    def model(self) -> str:
        """The model that answers."""
        return model_name(self.settings)

    @property
    def reader_options(self) -> ReaderOptions:
        """How files are read."""
        return reader_options_of(self.settings)

    @property
    def choice(self) -> Choice:
        """Which files of a source are wanted."""
        return Choice(self.settings.include, self.settings.exclude)

    @property
    def reader_limits(self) -> ReaderLimits:
        """What the reading of a file may take that needs a process of its own."""
        s = self.settings
        return ReaderLimits(seconds=s.reader_seconds, memory=s.reader_memory, processes=_processors())

    @property
    def chunking(self) -> ChunkingConfig:
        """How documents are cut."""
        return chunking_of(self.settings)

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; loading it takes about a third of a second, once."""
        if not self.loaded_tokenizer:
            self.loaded_tokenizer.append(tokenizer_for(self.settings.model))
        return self.loaded_tokenizer[0]

    @property
    def request_limits(self) -> RequestLimits:
        """What one request may hold, sized for the rate where one is known."""
        return request_limits(self.settings)

    @property
    def stage_files(self) -> StageFiles:
        """Where the Parquet stages are kept."""
        from vector_pipeline.pipeline.stage_files import StageFiles

        return StageFiles(stage_base(self.settings))

    @property
    def fingerprints(self) -> Fingerprints:
        """What readers and chunking a file of each kind is loaded with."""
        return fingerprints_of(self.settings)

    def scan_options(
        self, trigger: str, *, confirm_deletions: bool = False, quiet: bool = False, max_arrivals: int | None = None
    ) -> ScanOptions:
        """How a scan goes about it.

        `quiet` leaves files alone that may still be being written; after `max_arrivals` the rest waits for the next.
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


def _processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def reader_options_of(settings: Settings) -> ReaderOptions:
    """How files are read."""
    s = settings
    return ReaderOptions(max_bytes=s.max_file_bytes, text_field=s.text_field, id_field=s.id_field)


def chunking_of(settings: Settings) -> ChunkingConfig:
    """How documents are cut."""
    overlap = 0 if settings.chunk_strategy == "paragraph" else settings.chunk_overlap
    return ChunkingConfig(strategy=settings.chunk_strategy, max_tokens=settings.chunk_tokens, overlap=overlap)


def fingerprints_of(settings: Settings) -> Fingerprints:
    """What readers and chunking a file of each kind is loaded with."""
    return Fingerprints.under(chunking_of(settings), reader_options_of(settings))


def stage_base(settings: Settings) -> str:
    """The folder of the Parquet stages; pipelines that share a storage stay apart by name."""
    return f"{settings.storage_url}/{settings.name}" if settings.name else settings.storage_url


@contextmanager
def open_pipeline(settings: Settings, *, progress: Callable[[str, int], None] | None = None) -> Iterator[Pipeline]:
    """Start or reach the database that the settings name, bring its schema up to date, and hold it while open.

    Raises ConfigurationError where the settings contradict what the home was used with, or the home cannot be
    written; DatabaseUnavailable or DatabaseError where Postgres cannot be reached or lacks something.
    """
    home = prepare_home(settings)
    if settings.database_url is not None:
        database = Database(settings.database_url.get_secret_value(), settings.db_schema)
        migrate(database)
        _remember(home / USED_DATABASE, database.safe_url)
        yield Pipeline(settings, database, progress)
        return
    server = EmbeddedServer.start(home)
    try:
        database = Database(server.url, settings.db_schema)
        migrate(database)
        yield Pipeline(settings, database, progress)
    finally:
        server.close()


def prepare_home(settings: Settings) -> Path:
    """The home, made and checked. Raises ConfigurationError."""
    home = settings.home.absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.W_OK | os.X_OK):
            raise PermissionError(13, "permission denied")
        used = home / USED_DATABASE
        if settings.uses_embedded_server and used.exists():
            raise ConfigurationError(
                f"{variable('database_url')} is not set, but {home} was last used with {used.read_text().strip()}: "
                f"set it, or choose another {variable('home')} for the embedded server"
            )
    except OSError as error:
        raise ConfigurationError(
            f"{home} cannot be written ({error.strerror}); give this user the right to, or set {variable('home')} "
            "to another folder"
        ) from error
    return home


def _remember(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text + "\n":
        path.write_text(text + "\n")
