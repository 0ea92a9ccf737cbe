"""CREATE INDEX for HNSW: with suitable memory, up to one process per core, and lines about the progress."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.space import Space

Progress = Callable[[str, int], None]
"""Called with the kind of work done and its amount."""

TO_INDEX, INDEXED = "vectors to index", "vectors indexed"

# pgvector's defaults (https://github.com/pgvector/pgvector#hnsw).
LINKS, CANDIDATES = 16, 64
# Bytes of the graph per vector during a build, without the vector: in total 1.4 KB were measured for 256 dimensions and
# 8 KB for 1,536.
GRAPH_OVERHEAD_BYTES = 400
MIN_BUILD_MEMORY_MB = 64
# The most memory that a build uses unless maintenance_work_mem is higher, even if the server's settings suggest more.
MAX_BUILD_MEMORY_MB = 4_096
# One more process for each of this many vectors, up to the number of cores.
VECTORS_PER_WORKER = 10_000

LOOK_EVERY_SECONDS = 1.0
LOG_EVERY_SECONDS = 10.0


def create_index(
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
        sql.Identifier(connection.pgvector, f"{space.element_type}_cosine_ops"),
        sql.Literal(LINKS),
        sql.Literal(CANDIDATES),
    )
    memory = build_memory(connection, space, vectors, log)
    connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(f"{memory}MB")))
    workers = build_workers(connection, vectors)
    connection.execute("SELECT pg_catalog.set_config('max_parallel_maintenance_workers', %s, false)", (str(workers),))
    log(f"building with {workers + 1:,} processes and {memory:,} MB")
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


def build_workers(connection: Connection, vectors: int) -> int:
    """The number of extra processes for the build of an index: none for few vectors, and at most one a core.

    Of a server elsewhere the cores cannot be asked; its max_parallel_maintenance_workers says what may be taken.
    """
    here = connection.info.host.startswith("/")
    row = connection.execute(
        "SELECT pg_catalog.current_setting('max_parallel_maintenance_workers')::int, "
        "pg_catalog.current_setting('max_parallel_workers')::int"
    ).fetchone()
    assert row is not None
    allowed = min((os.cpu_count() or 1) - 1, row[1]) if here else row[0]
    return int(min(vectors // VECTORS_PER_WORKER, allowed))


def build_memory(connection: Connection, space: Space, vectors: int, log: Callable[[str], None]) -> int:
    """The memory in MB for the build of an index: the size of its graph, at most the server's estimated memory.

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
def shown(
    database: Database, builder: Connection, vectors: int, log: Callable[[str], None], progress: Progress | None
) -> Iterator[None]:
    """Log the progress of an index over this many vectors while another connection builds it."""
    done = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(database, builder.info.backend_pid, vectors, log, progress, done), daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(
    database: Database,
    pid: int,
    vectors: int,
    log: Callable[[str], None],
    progress: Progress | None,
    done: threading.Event,
) -> None:
    began = logged = time.monotonic()
    indexed = 0
    if progress:
        progress(TO_INDEX, vectors)
    with database.connect(role="vector index progress") as connection:
        while not done.wait(LOOK_EVERY_SECONDS):
            row = connection.execute(
                "SELECT tuples_done FROM pg_catalog.pg_stat_progress_create_index WHERE pid = %s", (pid,)
            ).fetchone()
            now = time.monotonic()
            if not row or not row[0]:
                began = now  # the phases before it copy rows and sort keys at another speed
                continue
            if progress:
                progress(INDEXED, row[0] - indexed)
            indexed = row[0]
            if now - logged >= LOG_EVERY_SECONDS:
                logged = now
                log(describe_progress(indexed, vectors, now - began))
    if progress and vectors > indexed:
        progress(INDEXED, vectors - indexed)


def describe_progress(indexed: int, vectors: int, seconds: float) -> str:
    """'index: 120,000 of 1,000,000 vectors, 400 a second, about 37 min left'."""
    rate = indexed / max(seconds, 1e-3)
    left = max(0, vectors - indexed) / max(rate, 1e-3)
    time_left = f"{left / 60:,.0f} min" if left >= 90 else f"{left:,.0f} s"
    return f"index: {indexed:,} of {vectors:,} vectors, {rate:,.0f} a second, about {time_left} left"
