"""What a run that changes little reads of Postgres: as much of a large table as of a small one. Counted, not timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.instance import open_instance_in_process
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.store.connection import Database
from vector_pipeline.store.index import maintain_index

FILES = 10
SMALL, LARGE = 2_000, 20_000

# A run that reads all of the large table reads ten times as much as of the small one. A b-tree may be a level deeper.
AS_MUCH = 1.3
# The way to a place in an HNSW graph grows with the logarithm of its size, and its length is random.
AS_MUCH_OF_THE_GRAPH = 2.5


@dataclass(frozen=True)
class Reads:
    """Pages that Postgres looked at, on disk or in memory, and rows that it went over one after the other."""

    pages: int
    graph: int
    """Pages of HNSW indexes; `pages` are all others."""
    rows: int


@contextmanager
def counted(database: Database) -> Iterator[Callable[[], Reads]]:
    """Count what is read by other sessions inside the block."""
    with psycopg.connect(database.url, autocommit=True) as connection:

        def read() -> Reads:
            row = connection.execute(
                "SELECT sum(coalesce(heap_blks_hit + heap_blks_read, 0) + coalesce(idx_blks_hit + idx_blks_read, 0) + "
                "coalesce(toast_blks_hit + toast_blks_read, 0))::bigint, "
                "(SELECT sum(idx_blks_hit + idx_blks_read)::bigint FROM pg_statio_user_indexes "
                "WHERE indexrelname LIKE '%\\_hnsw'), "
                "(SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables) FROM pg_statio_user_tables"
            ).fetchone()
            assert row is not None
            pages, graph, rows = row
            return Reads(pages - graph, graph, rows)

        def wait_until_reported() -> None:
            """Wait for the other sessions to end: each reports what it read before it leaves pg_stat_activity."""
            others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            until = time.monotonic() + 30
            while connection.execute(others).fetchone() is not None:
                assert time.monotonic() < until
                time.sleep(0.05)

        def difference() -> Reads:
            wait_until_reported()
            now = read()
            return Reads(now.pages - before.pages, now.graph - before.graph, now.rows - before.rows)

        wait_until_reported()
        before = read()
        yield difference


def be_undisturbed(database: Database) -> None:
    """Autovacuum reads tables when it likes: here it has nothing to do, and leaves them alone."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        for (table,) in connection.execute("SELECT relid::regclass::text FROM pg_stat_user_tables").fetchall():
            connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())


def write_corpus(folder: Path, chunks: int) -> None:
    """As many files for each size: what a scan reads of the manifest goes by their number."""
    folder.mkdir()
    for number in range(FILES):
        texts = (f"Paragraph {number} of {n} tells of hive {n * 31 + number}." for n in range(chunks // FILES))
        (folder / f"{number:02}.txt").write_text("\n\n".join(texts))
    (folder / "gone.txt").write_text("A file that is going to be deleted.\n\nIt has two paragraphs.")
    edit(folder, "first")


def edit(folder: Path, word: str) -> None:
    texts = [f"Text {number} of a file of which one paragraph is edited." for number in range(100)]
    texts[50] = f"This is its {word} form."
    (folder / "edited.txt").write_text("\n\n".join(texts))


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> dict[str, dict[int, Reads]]:
    """What each kind of run read, by the size of the table."""
    found: dict[str, dict[int, Reads]] = {"edit": {}, "deletion": {}, "nothing": {}, "status": {}}
    for size in (SMALL, LARGE):
        home = tmp_path_factory.mktemp(f"home{size}")
        name = f"cost_{size}"
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}".encode())
        settings = Settings.of(
            home=home,
            database_url=database_url.replace("@/postgres?", f"@/{name}?"),
            chunk_strategy="paragraph",
            grace_seconds=0,
        )
        with open_pipeline(settings) as pipeline:
            _measure(pipeline, home / "corpus", size, found)
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    return found


def _measure(pipeline: Pipeline, folder: Path, size: int, found: dict[str, dict[int, Reads]]) -> None:
    write_corpus(folder, size)

    with open_instance_in_process(pipeline.settings) as instance:

        def run(changed: int = 1) -> None:
            report = ingest(pipeline, [str(folder)], instance=instance)
            assert not report.failures
            assert report.loaded + report.deleted == changed

        def count(kind: str, work: Callable[[], object]) -> None:
            with counted(pipeline.database) as difference:
                work()
                found[kind][size] = difference()

        run(FILES + 2)
        maintain_index(pipeline.database, worth=100)
        edit(folder, "second")
        run()
        be_undisturbed(pipeline.database)
        edit(folder, "third")
        count("edit", run)
        (folder / "gone.txt").unlink()
        count("deletion", run)
        count("nothing", lambda: run(0))
        count("status", lambda: read_status(pipeline))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["edit", "deletion", "nothing", "status"])
def test_ten_times_the_chunks_are_not_ten_times_the_reads(reads: dict[str, dict[int, Reads]], kind: str) -> None:
    small, large = reads[kind][SMALL], reads[kind][LARGE]
    assert large.pages <= AS_MUCH * small.pages + 50, reads
    assert large.graph <= AS_MUCH_OF_THE_GRAPH * small.graph, reads
    assert large.rows <= AS_MUCH * small.rows + 50, reads
