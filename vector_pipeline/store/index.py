"""The HNSW index of a space: build it when the space is large enough, add landed rows, and measure its recall.

One process at a time does this, while searches and loads go on. A few landed rows are moved into the indexed table.
If there are many in comparison to the indexed ones, it is cheaper to index all together in a new table, which then
replaces the old one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.grants import grant, grants_of
from vector_pipeline.store.locks import try_lock_index
from vector_pipeline.store.recall import measure_recall
from vector_pipeline.store.sizes import bytes_on_disk
from vector_pipeline.store.space import WORTH_AN_INDEX, Space, active_space, count_vectors, list_spaces
from vector_pipeline.store.spaces import run_exclusively
from vector_pipeline.store.view import replace_view, stands_alone

# Rows enter an existing graph one by one, at 135 to 430 a second. A new build runs at 300 to 3,200 rows a second.
# If the landed rows exceed this share of the indexed ones, a new build is faster.
AFRESH_SHARE = 0.3

# Rows moved in one transaction. Transactions are short, and a search sees every row exactly once.
MOVED_AT_ONCE = 500

# pgvector's defaults (https://github.com/pgvector/pgvector#hnsw).
LINKS, CANDIDATES = 16, 64
# Bytes of the graph per vector during a build, beside the vector: in all 1.4 KB were measured for 256 dimensions and
# 8 KB for 1,536.
GRAPH_OVERHEAD_BYTES = 400
MIN_BUILD_MEMORY_MB = 64
# The most memory that a build uses unless maintenance_work_mem is higher, whatever the server's settings suggest.
MAX_BUILD_MEMORY_MB = 4_096
# One more process for each of this many vectors, up to the server's own limits.
VECTORS_PER_WORKER = 10_000

# On disk: the bytes of an element and its links beside its vector (68 MB for 50,000 of 256 dimensions, six to a page).
# A sweep leaves holes in an index. An index of more than twice its expected size is built again.
ENTRY_OVERHEAD_BYTES = 330
PAGE_BYTES = 8_192
BLOATED = 2.0

PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The state of a space's index. Times of searches are in milliseconds. `recall` is None without an index."""

    space: str
    vectors: int
    landing: int
    moved: int = 0
    built: bool = False
    indexed: bool = False
    index_bytes: int = 0
    recall: float | None = None
    ef_search: int | None = None
    """The number of candidates that reached that recall. Searches use it."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    seconds: float = 0.0


def maintain_index(
    database: Database,
    *,
    worth: int = WORTH_AN_INDEX,
    recall: float = 0.95,
    log: Callable[[str], None] = lambda _: None,
) -> list[IndexReport]:
    """Move the landed vectors of each space under its index and measure the recall; returns one report a space.

    A space of fewer than `worth` vectors gets no index. From then on searches use as many candidates as `recall`
    requires. If another process maintains the index, or there is no space yet, the list is empty.
    """
    with database.connect(role="vector index") as connection:
        if not try_lock_index(connection):
            log("another process is maintaining the index; nothing to do here")
            return []
        return [
            _maintain(database, connection, space, worth, recall, log)
            for space in list_spaces(connection)
            if space.state != "retired"
        ]


def _maintain(
    database: Database, connection: Connection, space: Space, worth: int, recall: float, log: Callable[[str], None]
) -> IndexReport:
    began = time.monotonic()
    stored, landing = count_vectors(connection, space.embeddings), count_vectors(connection, space.landing)
    exists = _has_index(connection, space)
    built, moved = False, landing
    many = landing > AFRESH_SHARE * max(1, stored) or _is_bloated(connection, space, stored)
    if stored + landing >= worth and (not exists or many):
        log(f"building the index of space {space.name} over {stored + landing:,} vectors")
        with _progress(database, connection, log):
            if stands_alone(connection, space):
                _build_afresh(connection, space, stored + landing, log)
            else:
                log(f"a view or a row policy stands on {space.embeddings}: the index is built in place")
                _build_in_place(connection, space, log)
        built = True
    elif landing:
        log(f"moving {landing:,} vectors of space {space.name} into the indexed table")
        moved = _move(connection, space)
    if moved:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(space.embeddings)))
        # Every search reads the whole landing table, and without VACUUM also the room of the rows that were moved.
        connection.execute(sql.SQL("VACUUM {}").format(sql.Identifier(space.landing)))
    report = IndexReport(
        space.name,
        vectors=count_vectors(connection, space.embeddings) + count_vectors(connection, space.landing),
        landing=count_vectors(connection, space.landing),
        moved=moved,
        built=built,
        indexed=_has_index(connection, space),
        seconds=time.monotonic() - began,
    )
    if not report.indexed:
        return report
    found = measure_recall(connection, space, recall)
    return replace(
        report,
        recall=found.recall,
        ef_search=found.candidates,
        index_bytes=bytes_on_disk(connection, space.index),
        p50_ms=found.p50_ms,
        p95_ms=found.p95_ms,
    )


def _is_bloated(connection: Connection, space: Space, vectors: int) -> bool:
    """Whether an index is far larger than its vectors need."""
    entry = space.dimensions * (4 if space.element_type == "vector" else 2) + ENTRY_OVERHEAD_BYTES
    expected = PAGE_BYTES / (PAGE_BYTES // entry) * vectors
    return vectors > 0 and bytes_on_disk(connection, space.index) > BLOATED * expected


def _has_index(connection: Connection, space: Space) -> bool:
    row = connection.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = pg_catalog.to_regclass(%s)::oid",
        (sql.Identifier(space.index).as_string(connection),),
    ).fetchone()
    return bool(row and row[0])


def _move(connection: Connection, space: Space) -> int:
    """Move landed rows into the indexed table, `MOVED_AT_ONCE` in a transaction; returns their number."""
    statement = sql.SQL(
        "WITH moved AS (DELETE FROM {landing} WHERE content_hash IN (SELECT content_hash FROM {landing} LIMIT %s) "
        "RETURNING *) INSERT INTO {embeddings} SELECT * FROM moved ON CONFLICT DO NOTHING"
    ).format(landing=sql.Identifier(space.landing), embeddings=sql.Identifier(space.embeddings))
    total = 0
    while moved := connection.execute(statement, (MOVED_AT_ONCE,)).rowcount:
        total += moved
    return total


def _build_afresh(connection: Connection, space: Space, vectors: int, log: Callable[[str], None]) -> None:
    """Copy both tables into a new one, index it, and let it replace the indexed table in one short transaction."""
    fresh = f"{space.embeddings}_new"
    names = {
        "fresh": sql.Identifier(fresh),
        "embeddings": sql.Identifier(space.embeddings),
        "landing": sql.Identifier(space.landing),
        "index": sql.Identifier(space.index),
        "fresh_index": sql.Identifier(f"{fresh}_hnsw"),
        "fresh_key": sql.Identifier(f"{fresh}_pkey"),
        "key": sql.Identifier(f"{space.embeddings}_pkey"),
    }

    def run(statement: str) -> None:
        connection.execute(sql.SQL(statement).format(**names))

    run("DROP TABLE IF EXISTS {fresh}")  # left by an interrupted build
    run("CREATE TABLE {fresh} (LIKE {embeddings} INCLUDING DEFAULTS INCLUDING STORAGE)")
    run("ALTER TABLE {fresh} SET (toast_tuple_target = 8160)")
    run("INSERT INTO {fresh} SELECT * FROM {embeddings} UNION ALL SELECT * FROM {landing}")
    run("ALTER TABLE {fresh} ADD CONSTRAINT {fresh_key} PRIMARY KEY (content_hash)")
    _create_index(connection, space, fresh, f"{fresh}_hnsw", vectors, log)

    def swap() -> None:
        # Locks are taken in the same order as by a search through the view, so the two cannot deadlock.
        active = active_space(connection)
        seen = active is not None and active.name == space.name
        if seen:
            replace_view(connection, space, embeddings=fresh)
        grants = grants_of(connection, space.embeddings)
        run("LOCK TABLE {embeddings}, {landing} IN ACCESS EXCLUSIVE MODE")
        run("DELETE FROM {landing} l USING {fresh} f WHERE l.content_hash = f.content_hash")
        run("DROP TABLE {embeddings}")
        run("ALTER TABLE {fresh} RENAME TO {embeddings}")
        run("ALTER INDEX {fresh_index} RENAME TO {index}")
        run("ALTER INDEX {fresh_key} RENAME TO {key}")
        grant(connection, space.embeddings, grants)

    try:
        run_exclusively(connection, swap)
    except (psycopg.Error, DatabaseError):
        run("DROP TABLE IF EXISTS {fresh}")
        raise


def _build_in_place(connection: Connection, space: Space, log: Callable[[str], None]) -> None:
    """Drop the index, move all landed rows into the table, and build the index there.

    This is slower than a new table. It is needed if a view of the user's depends on `document_chunks`.
    """
    drop = sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(space.index))
    connection.execute(drop)  # left by an interrupted build, or slower to extend than to build again
    _move(connection, space)
    try:
        vectors = count_vectors(connection, space.embeddings)
        # Searches and loads go on during the build.
        _create_index(connection, space, space.embeddings, space.index, vectors, log, concurrently=True)
    except psycopg.Error:
        connection.execute(drop)
        raise


def _create_index(
    connection: Connection,
    space: Space,
    table: str,
    name: str,
    vectors: int,
    log: Callable[[str], None],
    *,
    concurrently: bool = False,
) -> None:
    """Build an HNSW index with memory and processes that suit its size. Call it outside a transaction."""
    statement = sql.SQL("CREATE INDEX {} {} ON {} USING hnsw (embedding {}) WITH (m = {}, ef_construction = {})").format(
        sql.SQL("CONCURRENTLY" if concurrently else ""),
        sql.Identifier(name),
        sql.Identifier(table),
        sql.SQL("vector_cosine_ops" if space.element_type == "vector" else "halfvec_cosine_ops"),
        sql.Literal(LINKS),
        sql.Literal(CANDIDATES),
    )
    memory = build_memory(connection, space, vectors, log)
    connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(f"{memory}MB")))
    connection.execute(
        "SELECT pg_catalog.set_config('max_parallel_maintenance_workers', "
        "least(%s, pg_catalog.current_setting('max_parallel_workers')::int)::text, false)",
        (vectors // VECTORS_PER_WORKER,),
    )
    try:
        connection.execute(statement)
    except psycopg.errors.DiskFull as error:
        # Several processes share the graph in /dev/shm, which is small in containers. A single process needs none.
        if "shared memory" not in str(error):
            raise
        log(f"too little shared memory for {memory:,} MB ({error.diag.message_primary}): one process builds the index")
        connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(name)))
        connection.execute("SET max_parallel_maintenance_workers = 0")
        connection.execute(statement)
    finally:
        if not connection.closed:
            connection.execute("RESET maintenance_work_mem")
            connection.execute("RESET max_parallel_maintenance_workers")


def build_memory(connection: Connection, space: Space, vectors: int, log: Callable[[str], None]) -> int:
    """The memory in MB for the build of an index: what its graph needs, up to what the server seems to have.

    A server cannot be asked for its memory, but its settings are a hint: `shared_buffers` is usually a quarter of it and
    `effective_cache_size` half or more. `maintenance_work_mem`, also one set for the role, is a permission.
    """
    entry = space.dimensions * (4 if space.element_type == "vector" else 2) + GRAPH_OVERHEAD_BYTES
    needed = max(MIN_BUILD_MEMORY_MB, (vectors * entry >> 20) * 5 // 4)
    row = connection.execute(
        "SELECT greatest(pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')), "
        "least(%s::bigint << 20, greatest("
        "pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')), "
        "pg_catalog.pg_size_bytes(pg_catalog.current_setting('effective_cache_size')) / 4))) >> 20",
        (MAX_BUILD_MEMORY_MB,),
    ).fetchone()
    allowed = int(row[0]) if row else MIN_BUILD_MEMORY_MB
    if needed > allowed:
        log(
            f"the index of {vectors:,} vectors needs about {needed:,} MB to build at full speed, and the server's "
            f"settings allow {allowed:,} MB: the part that does not fit is built slowly. If the server has more, run "
            f"ALTER ROLE CURRENT_USER SET maintenance_work_mem = '{needed}MB'"
        )
    return min(needed, allowed)


@contextmanager
def _progress(database: Database, builder: Connection, log: Callable[[str], None]) -> Iterator[None]:
    """Log the progress of an index that another connection builds, every `PROGRESS_SECONDS`."""
    done, pid = threading.Event(), builder.info.backend_pid

    def watch() -> None:
        with database.connect(role="vector index progress") as connection:
            while not done.wait(PROGRESS_SECONDS):
                row = connection.execute(
                    "SELECT phase, tuples_done, blocks_done, blocks_total FROM pg_stat_progress_create_index "
                    "WHERE pid = %s",
                    (pid,),
                ).fetchone()
                if row:
                    log(f"index: {row[0]}, {row[1]:,} vectors, {row[2]:,} of {row[3]:,} blocks")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
