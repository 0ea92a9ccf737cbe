"""Maintain the lexical index when no loads are running; and create terms for chunks that are older than the index."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from vector_pipeline.errors import counted
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.lexical.bm25 import MAX_TEXTS_IN_SEGMENT
from vector_pipeline.store.lexical.landing import land_terms
from vector_pipeline.store.lexical.segments import (
    Segment,
    TextsCameBack,
    flush_landing,
    list_segments,
    merge_segments,
)
from vector_pipeline.store.locks import Lock, lock_in_transaction, try_lock_index
from vector_pipeline.store.reclaim import reclaim
from vector_pipeline.store.sizes import bytes_on_disk

# Fewer landed texts than this are read completely in a millisecond or two, so they need no segment.
WORTH_A_SEGMENT = 1_000
# Segments of similar size (within this factor) are merged. So each text is rewritten a few times in its life, and a
# search reads at most a dozen segments.
SIZE_FACTOR = 8
MAX_SEGMENTS_OF_SIZE = 4
# If more than this share of texts is unreferenced, segments are merged without them.
MAX_UNREFERENCED_SHARE = 0.1
BACKLOG_AT_ONCE = 1_000
TABLES = ("lexical_landing", "lexical_segments", "lexical_texts", "lexical_postings", "lexical_blocks")
# Smaller than any id.
FIRST = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class LexicalReport:
    """The state of the lexical index."""

    segments: int
    texts: int
    landing: int
    bytes: int
    """The size of all tables of the index on disk."""
    cut: int = 0
    """The number of older texts that were split now."""
    merged: int = 0
    """The number of segments that were merged."""


def maintain_lexical(database: Database, *, log: Callable[[str], None] = lambda _: None) -> LexicalReport | None:
    """Split texts without terms, turn landed texts into segments, and merge segments, if there are enough.

    Each step is a transaction of its own; killed at any moment, the index is whole. None where another process is at it.
    """
    with database.connect(role="lexical index") as connection:
        if not try_lock_index(connection):
            log("another process is maintaining the index; nothing to do here")
            return None
        cut = _cut_backlog(connection, log)
        flushed = 0
        while count_landing(connection) >= WORTH_A_SEGMENT:
            flushed += flush_landing(connection)
            log(f"{flushed:,} landed texts turned into segments of the lexical index")
        merged = _merge(connection, log)
        reclaim(connection, "lexical_landing", count_landing(connection), log)
        if flushed or merged:
            for table in ("lexical_texts", "lexical_postings", "lexical_blocks"):
                connection.execute(f"VACUUM ANALYZE {table}")
        segments = list_segments(connection)
        texts = sum(segment.texts for segment in segments)
        return LexicalReport(
            len(segments), texts, count_landing(connection), bytes_on_disk(connection, *TABLES), cut, merged
        )


def count_landing(connection: Connection) -> int:
    """The number of landed texts that are in no segment yet."""
    row = connection.execute("SELECT pg_catalog.count(*) FROM lexical_landing").fetchone()
    return int(row[0]) if row else 0


def has_backlog(connection: Connection) -> bool:
    """Whether there are chunks older than the lexical index that have no terms yet."""
    return connection.execute("SELECT FROM lexical_backlog").fetchone() is not None


def _cut_backlog(connection: Connection, log: Callable[[str], None]) -> int:
    total = 0
    while row := connection.execute("SELECT after FROM lexical_backlog").fetchone():
        total += _cut_some(connection, row[0])
        log(f"{counted(total, 'text')} of earlier loads entered the lexical index")
        if count_landing(connection) >= 20 * WORTH_A_SEGMENT:
            flush_landing(connection)
    return total


def _cut_some(connection: Connection, after: uuid.UUID) -> int:
    with connection.transaction():
        lock_in_transaction(connection, Lock.LOADS, shared=True)
        rows = connection.execute(
            "SELECT id, pg_catalog.uuid_send(content_hash), page_content FROM chunks WHERE id > %s ORDER BY id LIMIT %s",
            (after, BACKLOG_AT_ONCE),
        ).fetchall()
        if not rows:
            connection.execute("DELETE FROM lexical_backlog")
            return 0
        connection.execute("UPDATE lexical_backlog SET after = %s", (rows[-1][0],))
        return land_terms(connection, {row[1]: row[2] for row in rows})


def _merge(connection: Connection, log: Callable[[str], None]) -> int:
    segments = list_segments(connection)
    chosen = segments if _many_unreferenced(connection, segments) else worth_merging(segments)
    if not chosen:
        return 0
    log(f"merging {len(chosen):,} segments of the lexical index, {sum(s.texts for s in chosen):,} texts")
    try:
        merge_segments(connection, chosen)
    except TextsCameBack as error:
        log(f"{error}; the next run tries again")
        return 0
    return len(chosen)


def worth_merging(segments: list[Segment]) -> list[Segment]:
    """The segments to merge, oldest first: all up to the largest size of which there are enough; it may be empty."""
    limit = 0
    ascending = sorted(segments, key=lambda segment: segment.texts)
    for place, segment in enumerate(ascending):
        alike = [s for s in ascending[place:] if s.texts <= segment.texts * SIZE_FACTOR]
        together = sum(s.texts for s in ascending if s.texts <= alike[-1].texts)
        if len(alike) >= MAX_SEGMENTS_OF_SIZE and together <= MAX_TEXTS_IN_SEGMENT:
            limit = alike[-1].texts
    return [segment for segment in segments if segment.texts <= limit]


def _many_unreferenced(connection: Connection, segments: list[Segment]) -> bool:
    row = connection.execute(
        "SELECT pg_catalog.count(*) FROM unreferenced_hashes JOIN lexical_texts USING (content_hash)"
    ).fetchone()
    texts = sum(segment.texts for segment in segments)
    return bool(row and texts <= MAX_TEXTS_IN_SEGMENT and row[0] > MAX_UNREFERENCED_SHARE * texts)
