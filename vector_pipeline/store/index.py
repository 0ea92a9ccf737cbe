"""The HNSW index of a space: built when it is worth it, fed when loads are quiet, and measured against exact search.

One process at a time does this, while searches and loads go on. Few landed rows are moved into the indexed table;
many against what is there are cheaper to index together, in a fresh table beside that then takes its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import psycopg
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.spaces import (
    Space,
    active_space,
    alone,
    count_vectors,
    create_view,
    drop_view,
    list_spaces,
)

# Below this many vectors an exact search takes a few milliseconds, and no index is worth its upkeep.
WORTH_AN_INDEX = 10_000

# Rows enter an existing graph one by one, at 135 to 430 a second; a build together runs at 300 to 3,200 a second.
# From this share on building afresh is sooner done.
AFRESH_SHARE = 0.3

# Rows moved in one transaction: each is short, and searches see every row exactly once.
MOVED_AT_ONCE = 500

# pgvector's defaults (https://github.com/pgvector/pgvector#hnsw); bytes per vector of the graph while it is built,
# measured at 1.4 KB for 256 dimensions and 8 KB for 1,536.
LINKS, CANDIDATES = 16, 64
GRAPH_OVERHEAD_BYTES = 400
LEAST_BUILD_MEMORY_MB, MOST_BUILD_MEMORY_MB = 64, 4_096

SAMPLED_QUERIES = 50
NEAREST = 10


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The state of a space's index; times in milliseconds, `recall` against exact search, None without an index."""

    space: str
    vectors: int
    landing: int
    moved: int = 0
    built: bool = False
    indexed: bool = False
    index_bytes: int = 0
    recall: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    seconds: float = 0.0


def maintain_index(
    database: Database, *, worth: int = WORTH_AN_INDEX, log: Callable[[str], None] = lambda _: None
) -> list[IndexReport]:
    """Bring the landed vectors of each space under its index, where it is worth it, and measure; one report a space.

    Where another process is at it, or there is no space yet, nothing is done and the list is empty.
    """
    with database.connect(role="vector index") as connection:
        lock = connection.execute(
            "SELECT pg_try_advisory_lock(hashtextextended('vector index:' || current_schema(), 0))"
        ).fetchone()
        if not lock or not lock[0]:
            log("another process is maintaining the index; nothing to do here")
            return []
        return [
            _maintain(database, connection, space, worth, log)
            for space in list_spaces(connection)
            if space.state != "retired"
        ]


def _maintain(
    database: Database, connection: Connection, space: Space, worth: int, log: Callable[[str], None]
) -> IndexReport:
    began = time.monotonic()
    stored, landing = count_vectors(connection, space.embeddings), count_vectors(connection, space.landing)
    exists = _has_index(connection, space)
    built, moved = False, landing
    if stored + landing >= worth and (not exists or landing > AFRESH_SHARE * max(1, stored)):
        log(f"building the index of space {space.name} over {stored + landing:,} vectors")
        with _progress(database, log):
            if space.state == "active" and _view_has_dependents(connection):
                log("views depend on document_chunks: the index is built in place")
                _build_in_place(connection, space)
            else:
                _build_afresh(connection, space, stored + landing)
        built = True
    elif landing:
        log(f"moving {landing:,} vectors of space {space.name} into the indexed table")
        moved = _move(connection, space)
    if moved:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(space.embeddings)))
    report = IndexReport(
        space.name,
        vectors=count_vectors(connection, space.embeddings) + count_vectors(connection, space.landing),
        landing=count_vectors(connection, space.landing),
        moved=moved,
        built=built,
        indexed=_has_index(connection, space),
        seconds=time.monotonic() - began,
    )
    return _measured(connection, space, report) if report.indexed else report


def _has_index(connection: Connection, space: Space) -> bool:
    row = connection.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
        (sql.Identifier(space.index).as_string(connection),),
    ).fetchone()
    return bool(row and row[0])


def _move(connection: Connection, space: Space) -> int:
    """Move landed rows into the indexed table, a few hundred in a transaction; returns how many."""
    statement = sql.SQL(
        "WITH moved AS (DELETE FROM {landing} WHERE content_hash IN (SELECT content_hash FROM {landing} LIMIT %s) "
        "RETURNING *) INSERT INTO {embeddings} SELECT * FROM moved ON CONFLICT DO NOTHING"
    ).format(landing=sql.Identifier(space.landing), embeddings=sql.Identifier(space.embeddings))
    total = 0
    while moved := connection.execute(statement, (MOVED_AT_ONCE,)).rowcount:
        total += moved
    return total


def _build_afresh(connection: Connection, space: Space, vectors: int) -> None:
    """Copy both tables into a new one, index that, and put it in the place of the first in one short transaction."""
    fresh = f"{space.embeddings}_new"
    names = {
        "fresh": sql.Identifier(fresh),
        "embeddings": sql.Identifier(space.embeddings),
        "landing": sql.Identifier(space.landing),
        "index": sql.Identifier(space.index),
        "fresh_index": sql.Identifier(f"{fresh}_hnsw"),
        "fresh_key": sql.Identifier(f"{fresh}_pkey"),
        "key": sql.Identifier(f"{space.embeddings}_pkey"),
        "operators": _operators(space),
    }

    def run(statement: str) -> None:
        connection.execute(sql.SQL(statement).format(**names))

    run("DROP TABLE IF EXISTS {fresh}")  # of a build that was interrupted
    run("CREATE TABLE {fresh} (LIKE {embeddings} INCLUDING DEFAULTS INCLUDING STORAGE)")
    run("ALTER TABLE {fresh} SET (toast_tuple_target = 8160)")
    run("INSERT INTO {fresh} SELECT * FROM {embeddings} UNION ALL SELECT * FROM {landing}")
    run("ALTER TABLE {fresh} ADD CONSTRAINT {fresh_key} PRIMARY KEY (content_hash)")
    _set_build_memory(connection, space, vectors)
    run(
        f"CREATE INDEX {{fresh_index}} ON {{fresh}} USING hnsw (embedding {{operators}}) "
        f"WITH (m = {LINKS}, ef_construction = {CANDIDATES})"
    )
    connection.execute("RESET maintenance_work_mem")

    def swap() -> None:
        # Locks are taken as a search through the view takes them, so that neither waits for the other in a circle.
        active = active_space(connection)
        seen = active is not None and active.name == space.name
        grants = drop_view(connection) if seen else []
        run("LOCK TABLE {embeddings}, {landing} IN ACCESS EXCLUSIVE MODE")
        run("DELETE FROM {landing} l USING {fresh} f WHERE l.content_hash = f.content_hash")
        run("DROP TABLE {embeddings}")
        run("ALTER TABLE {fresh} RENAME TO {embeddings}")
        run("ALTER INDEX {fresh_index} RENAME TO {index}")
        run("ALTER INDEX {fresh_key} RENAME TO {key}")
        if seen:
            create_view(connection, space, grants)

    try:
        alone(connection, swap)
    except (psycopg.Error, DatabaseError):
        run("DROP TABLE IF EXISTS {fresh}")
        raise


def _build_in_place(connection: Connection, space: Space) -> int:
    """Move everything under a table that has no index and index it there; returns the rows moved.

    Slower than beside, and the way where somebody's own views depend on `document_chunks`.
    """
    drop = sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(space.index))
    connection.execute(drop)  # of a build that was interrupted, or one that is not worth feeding
    moved = _move(connection, space)
    try:
        _set_build_memory(connection, space, count_vectors(connection, space.embeddings))
        # Searches and loads go on beside it; it must not run in a transaction.
        connection.execute(
            sql.SQL(
                "CREATE INDEX CONCURRENTLY {} ON {} USING hnsw (embedding {}) WITH (m = {}, ef_construction = {})"
            ).format(
                sql.Identifier(space.index),
                sql.Identifier(space.embeddings),
                _operators(space),
                sql.Literal(LINKS),
                sql.Literal(CANDIDATES),
            )
        )
    except psycopg.Error:
        connection.execute(drop)
        raise
    connection.execute("RESET maintenance_work_mem")
    return moved


def _set_build_memory(connection: Connection, space: Space, vectors: int) -> None:
    memory = vectors * (space.dimensions * (4 if space.element_type == "vector" else 2) + GRAPH_OVERHEAD_BYTES) >> 20
    memory = min(MOST_BUILD_MEMORY_MB, max(LEAST_BUILD_MEMORY_MB, memory * 5 // 4))
    connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(f"{memory}MB")))


def _operators(space: Space) -> sql.SQL:
    return sql.SQL("vector_cosine_ops" if space.element_type == "vector" else "halfvec_cosine_ops")


def _view_has_dependents(connection: Connection) -> bool:
    """Whether views of somebody else's stand on `document_chunks`, which then cannot be made anew."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND "
        "r.oid = d.objid WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = to_regclass('document_chunks') "
        "AND r.ev_class <> d.refobjid)"
    ).fetchone()
    return bool(row and row[0])


@contextmanager
def _progress(database: Database, log: Callable[[str], None]) -> Iterator[None]:
    """Tell the progress of an index that another connection builds, every ten seconds."""
    done = threading.Event()

    def watch() -> None:
        with database.connect(role="vector index progress") as connection:
            while not done.wait(10.0):
                row = connection.execute(
                    "SELECT phase, tuples_done, blocks_done, blocks_total FROM pg_stat_progress_create_index "
                    "WHERE datname = current_database()"
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


def _measured(connection: Connection, space: Space, report: IndexReport) -> IndexReport:
    """The report with recall@10 and latency of sampled vectors, each searched by index and exactly."""
    table = sql.Identifier(space.embeddings)
    sample = connection.execute(
        sql.SQL("SELECT embedding FROM {} ORDER BY content_hash LIMIT %s").format(table), (SAMPLED_QUERIES,)
    ).fetchall()
    query = sql.SQL("SELECT content_hash FROM {} ORDER BY embedding <=> %s LIMIT %s").format(table)
    found, times = 0, []
    for (vector,) in sample:
        with connection.transaction():
            connection.execute("SET LOCAL hnsw.iterative_scan = 'relaxed_order'")
            connection.execute("SET LOCAL hnsw.ef_search = 100")
            began = time.perf_counter()
            by_index = {row[0] for row in connection.execute(query, (vector, NEAREST))}
            times.append((time.perf_counter() - began) * 1_000)
        with connection.transaction():
            connection.execute("SET LOCAL enable_indexscan = off")
            exact = {row[0] for row in connection.execute(query, (vector, NEAREST))}
        found += len(by_index & exact)
    recall = found / max(1, len(sample) * NEAREST)
    size = connection.execute(
        "SELECT pg_relation_size(to_regclass(%s))", (sql.Identifier(space.index).as_string(connection),)
    ).fetchone()
    connection.execute("UPDATE spaces SET recall = %s WHERE name = %s", (recall, space.name))
    p50, p95 = np.percentile(times, [50, 95]) if times else (0.0, 0.0)
    return replace(report, recall=recall, index_bytes=int(size[0]) if size else 0, p50_ms=float(p50), p95_ms=float(p95))
