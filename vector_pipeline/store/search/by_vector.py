"""The nearest texts to a vector, with or without a filter: exactly for landed vectors, by the index for the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, LiteralString

import numpy as np
from psycopg import sql

from vector_pipeline.errors import ConfigurationError, DatabaseError
from vector_pipeline.store.binary import UuidArray
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.search.filters import Filter, Passing, passing
from vector_pipeline.store.search.results import Found, SearchResult, results_of
from vector_pipeline.store.space import CANDIDATES_TRIED, Space, active_space
from vector_pipeline.store.vectors import as_parameter

MAX_RESULTS = 1_000

# The highest ef_search (candidates of HNSW): the number that the index needs by measurement, and more for a long list.
MAX_CANDIDATES = 1_000

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


def search(
    connection: Connection,
    query: Vector,
    k: int = 10,
    *,
    source: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> list[SearchResult]:
    """The k nearest texts to a vector, shape (dimensions,), float32, nearest first.

    A text that stands in several places is listed once, unless there are fewer than k texts: then its other places
    follow.
    Raises ConfigurationError for a k out of range, DatabaseError where nothing was ever embedded.
    """
    require_k(k)
    limits = Filter(source=source, where=where)
    found = [
        Found(content_hash, 1 - distance, distance)
        for content_hash, distance in nearest(
            connection, require_space(connection), query, k, passing(connection, limits)
        )
    ]
    return results_of(connection, found, k, limits)


def require_k(k: int) -> None:
    """Raise ConfigurationError if k is out of range."""
    if not 1 <= k <= MAX_RESULTS:
        raise ConfigurationError(f"k is {k}; it must be from 1 to {MAX_RESULTS:,}")


def require_space(connection: Connection) -> Space:
    """The active space. Raises DatabaseError if nothing was ever embedded."""
    space = active_space(connection)
    if space is None:
        raise DatabaseError("nothing was ever embedded; run `vector-pipeline ingest FOLDER` first")
    return space


def nearest(connection: Connection, space: Space, query: Vector, k: int, passes: Passing) -> list[tuple[bytes, float]]:
    """The k nearest texts that pass a filter, by hash, and their cosine distances, nearest first."""
    if passes.few is not None:
        found = distances(connection, space, query, passes.few)
        return sorted(found.items(), key=lambda item: (item[1], item[0]))[:k]
    limits = passes.limits
    values = {"query": as_parameter(space, query), "k": k, **limits.values}
    rows = _by_index(connection, space, limits, values)
    if len(rows) < k:
        # pgvector stops after hnsw.max_scan_tuples. An exact search finds the rest.
        statement = _statement(connection, _NEAREST_EXACTLY, space, limits)
        rows = connection.execute(statement, values, prepare=limits.prepare).fetchall()
    return [(content_hash, float(distance)) for content_hash, distance in rows]


def distances(connection: Connection, space: Space, query: Vector, hashes: Collection[bytes]) -> dict[bytes, float]:
    """The cosine distances of some texts to a vector, without texts that have no vector in the space."""
    values = {"query": as_parameter(space, query), "hashes": UuidArray(hashes)}
    statement = _statement(connection, _DISTANCES, space, Filter())
    return {row[0]: float(row[1]) for row in connection.execute(statement, values)}


_NEAREST_BY_INDEX = """
    SELECT pg_catalog.uuid_send(e.content_hash), e.embedding {to} %(query)s AS distance
    FROM (SELECT content_hash, embedding FROM {embeddings}
          UNION ALL SELECT content_hash, embedding FROM {landing}) e
    WHERE EXISTS (SELECT FROM chunks c WHERE c.content_hash = e.content_hash {condition})
    ORDER BY {indexed} {to} %(query)s::{type} LIMIT %(k)s
"""

# Sorted by a computed column, so that no index is used.
_NEAREST_EXACTLY = """
    WITH texts AS MATERIALIZED (SELECT DISTINCT c.content_hash FROM chunks c WHERE true {condition}),
    measured AS MATERIALIZED (
        SELECT content_hash, embedding {to} %(query)s AS distance FROM {embeddings} JOIN texts USING (content_hash)
        UNION ALL
        SELECT content_hash, embedding {to} %(query)s FROM {landing} JOIN texts USING (content_hash)
    )
    SELECT pg_catalog.uuid_send(content_hash), distance FROM measured ORDER BY distance LIMIT %(k)s
"""

_DISTANCES = """
    SELECT pg_catalog.uuid_send(content_hash), embedding {to} %(query)s FROM {embeddings}
    WHERE content_hash = ANY(%(hashes)s)
    UNION ALL
    SELECT pg_catalog.uuid_send(content_hash), embedding {to} %(query)s FROM {landing}
    WHERE content_hash = ANY(%(hashes)s)
"""


def _by_index(connection: Connection, space: Space, limits: Filter, values: dict[str, Any]) -> list[tuple[bytes, float]]:
    with connection.transaction():
        # The scan continues until k rows pass the filter. Set only for this transaction.
        connection.execute("SET LOCAL hnsw.iterative_scan = 'relaxed_order'")
        candidates = min(MAX_CANDIDATES, max(space.ef_search or CANDIDATES_TRIED[0], 2 * values["k"]))
        connection.execute(sql.SQL("SET LOCAL hnsw.ef_search = {}").format(sql.Literal(candidates)))
        statement = _statement(connection, _NEAREST_BY_INDEX, space, limits)
        rows = connection.execute(statement, values, prepare=limits.prepare).fetchall()
    # "Relaxed" means that neighbours in the list may be in the wrong order, and so does an index in half precision.
    return sorted(rows, key=lambda row: row[1])


def _statement(connection: Connection, template: LiteralString, space: Space, limits: Filter) -> sql.Composed:
    return sql.SQL(template).format(
        to=connection.distance,
        indexed=space.indexed(connection, "e.embedding"),
        type=sql.Identifier(connection.pgvector, space.element_type),
        embeddings=sql.Identifier(space.embeddings),
        landing=sql.Identifier(space.landing),
        condition=limits.condition,
    )
