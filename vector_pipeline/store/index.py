"""The HNSW index of a space: build it when the space is large enough, add landed rows, and measure its recall.

One process at a time does this, while searches and loads go on. A few landed rows are moved into the indexed table.
If there are many in comparison to the indexed ones, it is cheaper to index all together in a new table, which then
replaces the old one. A space says whether its index holds vectors in full or in half precision (`Space.index_type`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from vector_pipeline.errors import DatabaseError, counted
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.counts import add_rows, set_rows
from vector_pipeline.store.grants import grant, grants_of
from vector_pipeline.store.index_build import Progress, create_index, shown
from vector_pipeline.store.locks import try_lock_index
from vector_pipeline.store.recall import Recall, measure_recall, note_arrivals, recall_of_type
from vector_pipeline.store.reclaim import reclaim
from vector_pipeline.store.sizes import bytes_on_disk
from vector_pipeline.store.space import (
    WORTH_AN_INDEX,
    ElementType,
    Space,
    active_space,
    count_vectors,
    list_spaces,
)
from vector_pipeline.store.spaces import run_exclusively, set_index_type
from vector_pipeline.store.sweep import note_unreferenced
from vector_pipeline.store.view import (
    VIEW,
    has_view,
    may_change_type,
    note_definition,
    replace_view,
    stands_alone,
)

# Rows enter an existing graph one by one, at 135 to 430 a second. A new build runs at 300 to 3,200 rows a second.
# If the landed rows exceed this share of the indexed ones, a new build is faster.
AFRESH_SHARE = 0.3

# Rows moved in one transaction. Transactions are short, and a search sees every row exactly once.
MOVED_AT_ONCE = 500

# On disk: the bytes of an element and its links beside its vector (68 MB for 50,000 of 256 dimensions, six to a page).
# A sweep leaves holes in an index. An index of more than twice its expected size is built again.
ENTRY_OVERHEAD_BYTES = 330
PAGE_BYTES = 8_192
BLOATED = 2.0

# ANALYZE runs at once if more than this share of the rows was moved; for fewer rows autovacuum is soon enough.
MANY = 0.1


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The state of a space's index. Times of searches are in milliseconds. `recall` is None without an index."""

    space: str
    vectors: int
    landing: int
    moved: int = 0
    built: bool = False
    indexed: bool = False
    index_type: ElementType = "vector"
    """The type of the vectors that the index holds, or will hold."""
    index_bytes: int = 0
    recall: float | None = None
    ef_search: int | None = None
    """The number of candidates that reached that recall. Searches use it."""
    p50_ms: float | None = None
    p95_ms: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Upkeep:
    """What a maintenance is asked for, and who hears of it."""

    worth: int
    recall: float
    index_type: ElementType | None
    log: Callable[[str], None]
    progress: Progress | None


def maintain_index(
    database: Database,
    *,
    worth: int = WORTH_AN_INDEX,
    recall: float = 0.95,
    index_type: ElementType | None = None,
    log: Callable[[str], None] = lambda _: None,
    progress: Progress | None = None,
) -> list[IndexReport]:
    """Move the landed vectors of each space under its index and measure the recall; returns one report a space.

    A space of fewer than `worth` vectors gets no index. From then on searches use as many candidates as `recall`
    requires. An index of another type than `index_type` is built again; None keeps the type, unless half precision
    itself costs more recall than `recall` allows: then the index is built again in full precision. During a build
    `progress` hears of the vectors that are to be indexed and of those that are, and `log` of the time that is left.
    If another process maintains the index, or there is no space yet, the list is empty.
    """
    upkeep = _Upkeep(worth, recall, index_type, log, progress)
    with database.connect(role="vector index") as connection:
        if not try_lock_index(connection):
            log("another process is maintaining the index; nothing to do here")
            return []
        return [
            _maintain(database, connection, space, upkeep)
            for space in list_spaces(connection)
            if space.state != "retired"
        ]


def _maintain(database: Database, connection: Connection, space: Space, upkeep: _Upkeep) -> IndexReport:
    began = time.monotonic()
    stored, landing = count_vectors(connection, space.embeddings), count_vectors(connection, space.landing)
    wanted = _wanted(connection, space, upkeep)
    due = wanted != space or landing > AFRESH_SHARE * max(1, stored) or _is_bloated(connection, space, stored)
    built, moved = False, landing
    if stored + landing >= upkeep.worth and (due or not _has_index(connection, space)):
        _build(database, connection, wanted, stored + landing, upkeep)
        built = True
    else:
        if landing:
            upkeep.log(f"moving {counted(landing, 'vector')} of space {space.name} into the indexed table")
            moved = _move(connection, space)
        if wanted != space:
            run_exclusively(connection, lambda: _change_type(connection, wanted))
    if moved > MANY * stored:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(space.embeddings)))
    stored, landing = count_vectors(connection, space.embeddings), count_vectors(connection, space.landing)
    reclaim(connection, space.landing, landing, upkeep.log)
    report = IndexReport(
        space.name,
        vectors=stored + landing,
        landing=landing,
        moved=moved,
        built=built,
        indexed=_has_index(connection, space),
        index_type=wanted.index_type,
        seconds=time.monotonic() - began,
    )
    if not report.indexed:
        return report
    if built:
        upkeep.log("measuring the recall of the index against exact search")
    measured = measure_recall(connection, wanted, stored, upkeep.recall, is_new=built)
    if measured is not None and built and _is_too_coarse(connection, wanted, measured, upkeep):
        in_full = replace(upkeep, index_type=wanted.element_type)
        if _wanted(connection, wanted, in_full) != wanted:
            upkeep.log(f"the index of space {space.name} is built again in full precision")
            return _maintain(database, connection, wanted, in_full)
    return _measured(connection, space, report, measured)


def _measured(connection: Connection, space: Space, report: IndexReport, measured: Recall | None) -> IndexReport:
    """The report with what was measured now, or before."""
    index_bytes = bytes_on_disk(connection, space.index)
    if measured is None:
        return replace(report, recall=space.recall, ef_search=space.ef_search, index_bytes=index_bytes)
    return replace(
        report,
        index_bytes=index_bytes,
        recall=measured.recall,
        ef_search=measured.candidates,
        p50_ms=measured.p50_ms,
        p95_ms=measured.p95_ms,
    )


def _wanted(connection: Connection, space: Space, upkeep: _Upkeep) -> Space:
    """The space with the type that its index is to have."""
    if upkeep.index_type in (None, space.index_type) or space.element_type == "halfvec":
        return space
    if not stands_alone(connection, space) or (space.state == "active" and not may_change_type(connection)):
        upkeep.log(
            f"the index of space {space.name} stays {space.index_type}, because for a change the view document_chunks "
            "is created anew, and objects of yours or row policies depend on it or on its table"
        )
        return space
    return replace(space, index_type=upkeep.index_type)


def _is_too_coarse(connection: Connection, space: Space, measured: Recall, upkeep: _Upkeep) -> bool:
    """Whether the half precision of an index, and not its graph, misses too much, and nobody has chosen it."""
    if measured.recall >= upkeep.recall or space.index_type == space.element_type:
        return False
    best = recall_of_type(connection, space)
    if best >= upkeep.recall:
        return False
    upkeep.log(f"half precision finds {best:.3f} of the nearest vectors of space {space.name}: too few")
    return upkeep.index_type is None


def _change_type(connection: Connection, space: Space, embeddings: str | None = None) -> None:
    """Record the type of a space's index, and let the view show it. Call it inside a transaction.

    `embeddings` is the table that the view is to read, if that has another name yet.
    """
    set_index_type(connection, space)
    active = active_space(connection)
    if active is not None and active.name == space.name:
        replace_view(connection, space, embeddings)


def _build(database: Database, connection: Connection, space: Space, vectors: int, upkeep: _Upkeep) -> None:
    precision = "half" if space.index_type == "halfvec" else "full"
    upkeep.log(f"building the index of space {space.name} over {vectors:,} vectors in {precision} precision")
    with shown(database, connection, vectors, upkeep.log, upkeep.progress):
        if stands_alone(connection, space):
            _build_afresh(connection, space, vectors, upkeep.log)
        else:
            upkeep.log(f"a view or a row policy stands on {space.embeddings}: the index is built in place")
            _build_in_place(connection, space, upkeep.log)


def _is_bloated(connection: Connection, space: Space, vectors: int) -> bool:
    """Whether an index is far larger than its vectors need."""
    entry = space.dimensions * (4 if space.index_type == "vector" else 2) + ENTRY_OVERHEAD_BYTES
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
        "RETURNING *), stored AS (INSERT INTO {embeddings} SELECT * FROM moved ON CONFLICT DO NOTHING "
        "RETURNING content_hash) SELECT m.content_hash, s.content_hash IS NOT NULL FROM moved m "
        "LEFT JOIN stored s USING (content_hash)"
    ).format(landing=sql.Identifier(space.landing), embeddings=sql.Identifier(space.embeddings))
    stored_ones = sql.SQL("(SELECT * FROM {} WHERE content_hash = ANY(%s))").format(sql.Identifier(space.embeddings))
    total = 0
    while True:
        with connection.transaction():
            moved = connection.execute(statement, (MOVED_AT_ONCE,)).fetchall()
            if not moved:
                return total
            stored = [content_hash for content_hash, is_stored in moved if is_stored]
            add_rows(connection, space.landing, -len(moved))
            add_rows(connection, space.embeddings, len(stored))
            note_unreferenced(connection, stored_ones, stored)
            note_arrivals(connection, space, stored)
        total += len(moved)


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

    def run(statement: str) -> int:
        return connection.execute(sql.SQL(statement).format(**names)).rowcount

    run("DROP TABLE IF EXISTS {fresh}")  # left by an interrupted build
    run("CREATE TABLE {fresh} (LIKE {embeddings} INCLUDING DEFAULTS INCLUDING STORAGE)")
    run("ALTER TABLE {fresh} SET (toast_tuple_target = 8160)")
    copied = run("INSERT INTO {fresh} SELECT * FROM {embeddings} UNION ALL SELECT * FROM {landing}")
    run("ALTER TABLE {fresh} ADD CONSTRAINT {fresh_key} PRIMARY KEY (content_hash)")
    create_index(connection, space, fresh, f"{fresh}_hnsw", vectors, log)

    def swap() -> None:
        # Locks are taken in the same order as by a search through the view, so the two cannot deadlock.
        _change_type(connection, space, fresh)
        grants = grants_of(connection, space.embeddings)
        run("LOCK TABLE {embeddings}, {landing} IN ACCESS EXCLUSIVE MODE")
        moved = run("DELETE FROM {landing} l USING {fresh} f WHERE l.content_hash = f.content_hash")
        add_rows(connection, space.landing, -moved)
        set_rows(connection, space.embeddings, copied)
        run("DROP TABLE {embeddings}")
        run("ALTER TABLE {fresh} RENAME TO {embeddings}")
        run("ALTER INDEX {fresh_index} RENAME TO {index}")
        run("ALTER INDEX {fresh_key} RENAME TO {key}")
        grant(connection, space.embeddings, grants)
        if has_view(connection):
            note_definition(connection, VIEW)  # with the name that the table has now

    try:
        run_exclusively(connection, swap)
    except (psycopg.Error, DatabaseError):
        run("DROP TABLE IF EXISTS {fresh}")
        raise
    # Also what was swept from the old tables while the new one was filled.
    note_unreferenced(connection, names["embeddings"])


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
        create_index(connection, space, space.embeddings, space.index, vectors, log, concurrently=True)
    except psycopg.Error:
        connection.execute(drop)
        raise
