"""A run that begins to write, waits to be woken, and goes on writing: `python -m … KIND URL HOME [API_URL]`.

It owns arrival A1 as runs do. Where it waits it prints a line, and goes on once it is given one.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from vector_pipeline.errors import PipelineError
from vector_pipeline.formats.pool import ReaderLimits
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.settings import Settings
from vector_pipeline.sources.base import ListedFile, PassedOver
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.stages.documents import DocumentsOutcome, read_arrival
from vector_pipeline.stages.load import load_chunks
from vector_pipeline.stages.scan import scan
from vector_pipeline.stages.streams import ChunkRow, PlannedText
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline.store.failed_arrivals import fail_attempt
from vector_pipeline.store.failures import PostgresError
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.lexical.maintenance import maintain_lexical
from vector_pipeline.store.run_locks import RunLocks
from vector_pipeline.text.readers import ReaderOptions
from vector_pipeline_tests.support.corpus import hash_of, key_of

ARRIVAL, ROLE = "A1", "sleeper"
SPACE = "text_embedding_3_small_1536"

Item = TypeVar("Item")


def text_of(path: str) -> str:
    return f"text of {path}"


def chunk_of(path: str) -> ChunkRow:
    text = text_of(path)
    return ChunkRow(key_of(path), path, "1", "utf-8", path, text, "{}", 0, 0, len(text), 2, hash_of(text))


def wait() -> None:
    sys.stdout.write("waiting\n")
    sys.stdout.flush()
    sys.stdin.readline()


def waiting_after_the_first(items: Iterable[Item]) -> Iterator[Item]:
    for number, item in enumerate(items):
        if number == 1:
            wait()
        yield item


class WaitingSource(LocalSource):
    """A folder that takes long to list."""

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[ListedFile | PassedOver]:
        return waiting_after_the_first(super().walk(wanted))


def rows(database: Database, *_: str) -> None:
    load_chunks(
        database,
        ARRIVAL,
        waiting_after_the_first(map(chunk_of, ("a", "b", "c"))),
        fingerprint_of=lambda _: "p",
        rows_per_batch=1,
    )


def deletions(database: Database, *_: str) -> None:
    wait()
    load_chunks(database, ARRIVAL, (), fingerprint_of=lambda _: "p")


def documents(database: Database, *_: str) -> None:
    for _row in waiting_after_the_first(
        read_arrival(database, ARRIVAL, ReaderOptions(), ReaderLimits(), DocumentsOutcome())
    ):
        pass


def rejections(database: Database, *_: str) -> None:
    with database.connect() as connection:
        wait()
        manifest.reject_files(connection, ARRIVAL, {(uuid.UUID(bytes=key_of("a")), "1"): "wrong"})


def failure(database: Database, *_: str) -> None:
    with database.connect() as connection:
        wait()
        fail_attempt(connection, ARRIVAL, "it failed")


def end(database: Database, *_: str) -> None:
    with database.connect() as connection:
        wait()
        manifest.finish_attempt(connection, ARRIVAL)


def vectors(database: Database, home: str, api_url: str) -> None:
    # Imported here: most of them need nothing of it, and are started often.
    from vector_pipeline.pipeline.model import client_config
    from vector_pipeline.pipeline.pipeline import open_pipeline
    from vector_pipeline.stages.embeddings.plan import embed_plan
    from vector_pipeline_tests.support.asking import inputs

    settings = Settings.of(
        home=Path(home), database_url=database.url, openai_base_url=api_url, openai_api_key="sk-test", max_in_flight=1
    )
    plan = [
        PlannedText(number, SPACE, text.content_hash, text.text, text.tokens)
        for number, text in enumerate(inputs("one", "two", "three"))
    ]
    with open_pipeline(settings) as pipeline:
        assert database.owner is not None
        embed_plan(pipeline.owned_by(database.owner), plan, client_config(settings))


def waiting_at(line: str) -> Callable[[str], None]:
    """A log that waits at the first line that begins so."""
    waited = list[bool]()

    def log(said: str) -> None:
        if said.startswith(line) and not waited:
            waited.append(True)
            wait()

    return log


def index(database: Database, line: str, *_: str) -> None:
    maintain_index(Database(database.url), worth=1, log=waiting_at(line))


def lexical(database: Database, line: str, *_: str) -> None:
    maintain_lexical(Database(database.url), log=waiting_at(line))


def scanning(database: Database, home: str, *_: str) -> None:
    options = ScanOptions(max_files=1, max_bytes=1_000, quiet_seconds=0.0, max_deleted_share=1.0, trigger="cli")
    scan(Database(database.url), WaitingSource(home), options)


KINDS = {
    work.__name__: work
    for work in (rows, deletions, documents, rejections, failure, end, vectors, index, lexical, scanning)
}


def main(kind: str, url: str, *rest: str) -> None:
    database = Database(url)
    with RunLocks(database, ROLE, look_every_seconds=0.1) as locks:
        locks.hold_arrival(ARRIVAL)
        try:
            KINDS[kind](database.owned_by(locks.owner(ARRIVAL)), *rest)
        except (PipelineError, PostgresError) as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
