"""Nearest chunks: k distinct texts, filtered or not, exact for what has just landed and by index for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

import numpy as np
from psycopg import sql
from psycopg.types.json import Jsonb

from vector_pipeline.errors import ConfigurationError, DatabaseError
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.space import CANDIDATES_TRIED, Space, active_space
from vector_pipeline.store.vectors import as_parameter

MAX_RESULTS = 1_000

# Copies of one text that are named with a result at most.
MAX_COPIES = 20

# Up to this many chunks an exact search is faster than a filtered walk through the index, and finds everything
# (measured at 20,000 rows with a filter of 2 %: 0.35 ms exactly, 24 ms by the index).
FEW = 5_000

# Of ef_search, the candidates that HNSW keeps: what the index was measured to need, and some more for a long list.
MAX_CANDIDATES = 1_000


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A chunk and its cosine distance; `also_in` names other places of the same text that were not listed."""

    source: str
    chunk_index: int
    page_content: str
    metadata: dict[str, Any]
    distance: float
    document_id: str
    also_in: list[str] = field(default_factory=list)


def search(
    connection: Connection,
    query: np.ndarray[tuple[int], np.dtype[np.float32]],
    k: int = 10,
    *,
    source: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> list[SearchResult]:
    """The k nearest texts to a vector, shape (dimensions,), float32, nearest first.

    `source` is a pattern over paths in which `*` stands for anything and `?` for one character; `where` is what a
    chunk's metadata must contain. A text that stands in several places is listed once, unless there are fewer than k
    texts: then its other places follow.
    Raises ConfigurationError for a k out of range, DatabaseError where nothing was ever embedded.
    """
    if not 1 <= k <= MAX_RESULTS:
        raise ConfigurationError(f"k is {k}; it must be from 1 to {MAX_RESULTS:,}")
    space = active_space(connection)
    if space is None:
        raise DatabaseError("nothing was ever embedded; run `vector-pipeline ingest FOLDER` first")
    matches, values = _filters(source, where)
    values |= {"query": as_parameter(space, query), "k": k}
    if source is not None and _is_few(connection, matches, values):
        return _folded(_exactly(connection, space, matches, values), k)
    rows = _by_index(connection, space, matches, values)
    if sum(row[6] == 1 for row in rows) < k:
        # pgvector gives up after hnsw.max_scan_tuples; what it did not reach is found the slow way.
        rows = _exactly(connection, space, matches, values)
    return _folded(rows, k)


# The nearest texts with the places they stand in.
_PLACES = """
    SELECT c.source, c.chunk_index, c.page_content, c.metadata, n.distance, c.document_id, c.place
    FROM ({nearest}) n
    CROSS JOIN LATERAL (
        SELECT *, row_number() OVER (ORDER BY c.source, c.document_id, c.chunk_index) AS place
        FROM placed_chunks c WHERE c.content_hash = n.content_hash {matches}
        ORDER BY c.source, c.document_id, c.chunk_index LIMIT {copies}
    ) c
    ORDER BY n.distance, n.content_hash, c.place
"""

_NEAREST_BY_INDEX = """
    SELECT e.content_hash, e.embedding <=> %(query)s AS distance
    FROM (SELECT content_hash, embedding FROM {embeddings}
          UNION ALL SELECT content_hash, embedding FROM {landing}) e
    WHERE EXISTS (SELECT FROM chunks c WHERE c.content_hash = e.content_hash {matches})
    ORDER BY e.embedding <=> %(query)s LIMIT %(k)s
"""

# Sorted by a column of what was computed before: no order that an index could give.
_NEAREST_EXACTLY = """
    WITH texts AS MATERIALIZED (SELECT DISTINCT c.content_hash FROM chunks c WHERE true {matches}),
    measured AS MATERIALIZED (
        SELECT content_hash, embedding <=> %(query)s AS distance FROM {embeddings} JOIN texts USING (content_hash)
        UNION ALL
        SELECT content_hash, embedding <=> %(query)s FROM {landing} JOIN texts USING (content_hash)
    )
    SELECT content_hash, distance FROM measured ORDER BY distance LIMIT %(k)s
"""


def _by_index(
    connection: Connection, space: Space, matches: sql.Composable, values: dict[str, Any]
) -> list[tuple[Any, ...]]:
    with connection.transaction():
        # Goes on through the index until k are found that pass the filter; set for this transaction alone.
        connection.execute("SET LOCAL hnsw.iterative_scan = 'relaxed_order'")
        candidates = min(MAX_CANDIDATES, max(space.ef_search or CANDIDATES_TRIED[0], 2 * values["k"]))
        connection.execute(sql.SQL("SET LOCAL hnsw.ef_search = {}").format(sql.Literal(candidates)))
        return connection.execute(_statement(_NEAREST_BY_INDEX, space, matches), values).fetchall()


def _exactly(
    connection: Connection, space: Space, matches: sql.Composable, values: dict[str, Any]
) -> list[tuple[Any, ...]]:
    return connection.execute(_statement(_NEAREST_EXACTLY, space, matches), values).fetchall()


def _statement(nearest: LiteralString, space: Space, matches: sql.Composable) -> sql.Composed:
    names = {"embeddings": sql.Identifier(space.embeddings), "landing": sql.Identifier(space.landing)}
    return sql.SQL(_PLACES).format(
        nearest=sql.SQL(nearest).format(matches=matches, **names), matches=matches, copies=sql.Literal(MAX_COPIES)
    )


def _is_few(connection: Connection, matches: sql.Composable, values: dict[str, Any]) -> bool:
    """Whether a filter leaves so few chunks that comparing each of them is faster than walking the index."""
    statement = sql.SQL("SELECT count(*) FROM (SELECT FROM chunks c WHERE true {} LIMIT {}) few").format(
        matches, sql.Literal(FEW + 1)
    )
    row = connection.execute(statement, values).fetchone()
    return row is not None and int(row[0]) <= FEW


def _filters(source: str | None, where: Mapping[str, Any] | None) -> tuple[sql.Composable, dict[str, Any]]:
    conditions: list[sql.Composable] = []
    values: dict[str, Any] = {}
    if source is not None:
        conditions.append(
            # By way of the manifest: a row for a file, where the table has one for each chunk.
            sql.SQL("AND c.source_key IN (SELECT source_key FROM source_files WHERE path LIKE %(source)s)")
        )
        values["source"] = like_pattern(source)
    if where:
        conditions.append(sql.SQL("AND c.metadata @> %(where)s"))
        values["where"] = Jsonb(dict(where))
    return sql.SQL(" ").join(conditions), values


def like_pattern(glob: str) -> str:
    """A pattern with * and ? as one for LIKE."""
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("**", "*").replace("*", "%").replace("?", "_")


def _folded(rows: list[tuple[Any, ...]], k: int) -> list[SearchResult]:
    """One result per text, and other places of a text only where there is room left."""
    room = k - sum(1 for row in rows if row[6] == 1)
    results: list[SearchResult] = []
    for source, chunk_index, page_content, metadata, distance, document_id, place in rows:
        result = SearchResult(source, chunk_index, page_content, metadata, float(distance), document_id)
        if place == 1 or room > 0:
            room -= place != 1
            results.append(result)
        else:
            results[-1].also_in.append(result.source)
    return results
