"""CREATE INDEX for HNSW: with suitable memory, up to one process per core, and lines about the progress."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.embedded.machine import free_memory_mb, processors
from vector_pipeline.store.space import Space

Progress = Callable[[str, int], None]
"""Called with the kind of work done and its amount."""

TO_INDEX, INDEXED = "vectors to index", "vectors indexed"

# pgvector's defaults (https://github.com/pgvector/pgvector#hnsw).
LINKS, CANDIDATES = 16, 64
# Bytes of the graph per vector during a build, without the vector: measured are 690 to 740 (docs/benchmarks/index.md).
# A tenth is added as a margin, and pgvector keeps 3 MB for other things.
GRAPH_OVERHEAD_BYTES = 740
OTHER_MEMORY_MB = 3
MIN_BUILD_MEMORY_MB = 64
# The most memory that a build uses unless maintenance_work_mem is higher, even if the server's settings suggest more.
MAX_BUILD_MEMORY_MB = 4_096
# On the machine of the embedded server it is known what is free: a build takes this share of it at most.
SHARE_OF_FREE_MEMORY = 0.5
# One more process for each of this many vectors, up to the number of cores.
VECTORS_PER_WORKER = 10_000

LOOK_EVERY_SECONDS = 1.0
LOG_EVERY_SECONDS = 10.0
# The rate is that of the last minute: a graph that no longer fits into the memory grows many times more slowly.
RATE_SECONDS = 60.0


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
    statement = sql.SQL("CREATE INDEX {} {} ON {} USING hnsw ({} {}) WITH (m = {}, ef_construction = {})").format(
        sql.SQL("CONCURRENTLY" if concurrently else ""),
        sql.Identifier(name),
        sql.Identifier(table),
        space.indexed(connection),
        sql.Identifier(connection.pgvector, f"{space.index_type}_cosine_ops"),
        sql.Literal(LINKS),
        sql.Literal(CANDIDATES),
    )
    memory = build_memory(connection, space, vectors, log)
    connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(f"{memory}MB")))
    workers = build_workers(connection, vectors)
    connection.execute("SELECT pg_catalog.set_config('max_parallel_maintenance_workers', %s, false)", (str(workers),))
    log(f"building with {workers + 1:,} processes and {memory:,} MB")

    def tell(notice: psycopg.errors.Diagnostic) -> None:
        # pgvector says so once: "hnsw graph no longer fits into maintenance_work_mem after 123 tuples".
        if "no longer fits" in (notice.message_primary or ""):
            log(f"{notice.message_primary}: the other vectors are indexed many times more slowly")

    connection.add_notice_handler(tell)
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
        connection.remove_notice_handler(tell)
        if not connection.closed:
            connection.execute("RESET maintenance_work_mem")
            connection.execute("RESET max_parallel_maintenance_workers")


def build_workers(connection: Connection, vectors: int) -> int:
    """The number of extra processes for the build of an index: none for few vectors, and at most one a core.

    The process that builds is one more. Of a server elsewhere the cores cannot be asked; its
    max_parallel_maintenance_workers, which a role may set, says what may be taken.
    """
    here = connection.info.host.startswith("/")
    row = connection.execute(
        "SELECT pg_catalog.current_setting('max_parallel_maintenance_workers')::int, "
        "pg_catalog.current_setting('max_parallel_workers')::int"
    ).fetchone()
    assert row is not None
    allowed = min(processors() - 1, row[1]) if here else row[0]
    return int(min(vectors // VECTORS_PER_WORKER, allowed))


def build_memory(connection: Connection, space: Space, vectors: int, log: Callable[[str], None]) -> int:
    """The memory in MB for the build of an index: the size of its graph, at most the server's estimated memory.

    A server cannot be asked for its memory, but its settings are a hint: `shared_buffers` is usually a quarter of it and
    `effective_cache_size` half or more. `maintenance_work_mem`, also one set for the role, is a permission. The embedded
    server runs on this machine, so a build may also take half of what is free here.
    """
    entry = space.dimensions * (4 if space.index_type == "vector" else 2) + GRAPH_OVERHEAD_BYTES
    needed = max(MIN_BUILD_MEMORY_MB, (vectors * entry >> 20) * 11 // 10 + OTHER_MEMORY_MB)
    row = connection.execute(
        "SELECT greatest(pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')), "
        "least(%s::bigint << 20, greatest("
        "pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')), "
        "pg_catalog.pg_size_bytes(pg_catalog.current_setting('effective_cache_size')) / 4))) >> 20",
        (MAX_BUILD_MEMORY_MB,),
    ).fetchone()
    allowed = int(row[0]) if row else MIN_BUILD_MEMORY_MB
    if connection.database.embedded:
        allowed = max(allowed, int(free_memory_mb() * SHARE_OF_FREE_MEMORY))
        advice = "It fits if more memory is free, or with fewer dimensions"
    else:
        advice = f"If the server has more, run ALTER ROLE CURRENT_USER SET maintenance_work_mem = '{needed}MB'"
    if needed > allowed:
        halves = "; VECTOR_PIPELINE_INDEX_TYPE=halfvec needs about half" if space.index_type == "vector" else ""
        log(
            f"the index of {vectors:,} vectors needs about {needed:,} MB to build at full speed, and {allowed:,} MB may "
            f"be used: the part that does not fit is built slowly. {advice}{halves}"
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
    logged = time.monotonic()
    pace = Pace(vectors)
    if progress:
        progress(TO_INDEX, vectors)
    with database.connect(role="vector index progress") as connection:
        while not done.wait(LOOK_EVERY_SECONDS):
            row = connection.execute(
                "SELECT tuples_done FROM pg_catalog.pg_stat_progress_create_index WHERE pid = %s", (pid,)
            ).fetchone()
            # In the phases before it rows are copied and keys sorted.
            if not row or not row[0]:
                continue
            now = time.monotonic()
            new = pace.note(row[0], now)
            if progress:
                progress(INDEXED, new)
            if now - logged >= LOG_EVERY_SECONDS:
                logged = now
                log(str(pace))
    if progress and vectors > pace.indexed:
        progress(INDEXED, vectors - pace.indexed)


class Pace:
    """How far a build is: the vectors indexed, their rate in the last minute, and the time left.

    Its text is 'index: 120,000 of 1,000,000 vectors (12%), 400 a second, about 37 min left'.
    """

    def __init__(self, vectors: int) -> None:
        self.indexed = 0
        self._vectors = vectors
        self._looks: deque[tuple[float, int]] = deque()

    def note(self, indexed: int, now: float) -> int:
        """Note the number of vectors indexed at a time in seconds; returns how many are new."""
        new, self.indexed = indexed - self.indexed, indexed
        self._looks.append((now, indexed))
        while now - self._looks[0][0] > RATE_SECONDS:
            self._looks.popleft()
        return new

    @property
    def rate(self) -> float:
        """Vectors a second in the last minute; 0 before the second look."""
        (first, before), (last, after) = self._looks[0], self._looks[-1]
        return (after - before) / (last - first) if last > first else 0.0

    def __str__(self) -> str:
        share = f"index: {self.indexed:,} of {self._vectors:,} vectors ({self.indexed / max(1, self._vectors):.0%})"
        if self.indexed >= self._vectors:
            return f"{share}, being written to disk"
        if not self.rate:
            return share
        left = (self._vectors - self.indexed) / self.rate
        time_left = f"{left / 60:,.0f} min" if left >= 90 else f"{left:,.0f} s"
        return f"{share}, {self.rate:,.0f} a second, about {time_left} left"
