"""Measure the recall of an index against exact search, and choose the number of candidates of a search.

The queries are some of the vectors, the same ones each time. Exact searches over everything are made once; their
results are kept, and brought up to date by each vector that comes and goes, so that measuring takes a few searches by
the index however many vectors there are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from psycopg import sql
from psycopg.rows import class_row

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.exact import nearest_by_reading_all
from vector_pipeline.store.space import CANDIDATES_TRIED, Space

SAMPLED_QUERIES = 50
NEAREST = 10
# More than NEAREST are kept, so that a query's list still has enough after some of its vectors were removed.
KEPT = 2 * NEAREST

# A few vectors change a graph little: measure it again after this share was added or removed, or after a day.
MEASURED_SHARE = 0.01
MEASURED_AFTER = "1 day"
# The exact searches are repeated with a new sample after a larger change, since the old sample may not represent the
# present vectors, and also after this time.
SEARCHED_SHARE = 0.2
SEARCHED_AFTER = "30 days"


@dataclass(frozen=True, slots=True)
class Recall:
    """recall@10 of an index with `candidates` candidates a search, and the times of the searches in milliseconds."""

    recall: float
    candidates: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class _Query:
    """A query vector, and its nearest other vectors by exact search, at most KEPT, nearest first."""

    query: Any
    embedding: Any
    neighbours: list[Any]
    distances: list[float]


@dataclass(frozen=True, slots=True)
class _State:
    measured_at: datetime | None
    measurement_is_old: bool
    searches_are_old: bool
    changed_since_measured: int
    changed_since_searched: int
    queries: int
    recall: float | None
    ef_search: int | None


def measure_recall(
    connection: Connection, space: Space, vectors: int, wanted: float, *, is_new: bool = False
) -> Recall | None:
    """Search the stored queries by the index, and raise the number of candidates until the recall is reached.

    The number of candidates is stored for searches. Returns None without a measurement if the last one still holds for
    an index of `vectors` vectors. `is_new` means that the index was just built. A query's own row is left out, since
    every index finds it.
    """
    state = _state(connection, space)
    if is_new or _are_searches_due(state, vectors):
        _search_exactly(connection, space)
    elif not _is_due(state, vectors, wanted):
        return None
    queries = _queries(connection, space)
    found = Recall(0.0, CANDIDATES_TRIED[0], 0.0, 0.0)
    for candidates in CANDIDATES_TRIED:
        found = _by_index(connection, space, queries, candidates)
        if found.recall >= wanted:
            break
    connection.execute(
        "UPDATE spaces SET recall = %s, ef_search = %s, measured_at = pg_catalog.now(), changed_since_measured = 0 "
        "WHERE name = %s",
        (found.recall, found.candidates, space.name),
    )
    return found


def recall_of_type(connection: Connection, space: Space) -> float:
    """The recall@10 that the type of the index allows: of the stored nearest vectors, the order in that type decides.

    It is below 1 where rounding puts another vector among the ten nearest.
    """
    row = connection.execute(
        sql.SQL(
            "SELECT pg_catalog.sum(n.kept), pg_catalog.sum(least(%(nearest)s, pg_catalog.array_length(q.distances, 1))) "
            "FROM recall_queries q JOIN {table} e ON e.content_hash = q.query CROSS JOIN LATERAL ("
            "SELECT pg_catalog.count(*) AS kept FROM ("
            "SELECT k.d FROM unnest(q.neighbours, q.distances) AS k (n, d) JOIN {table} v ON v.content_hash = k.n "
            "ORDER BY {of_neighbour} {to} {of_query} LIMIT %(nearest)s) AS f "
            "WHERE f.d <= q.distances[least(%(nearest)s, pg_catalog.array_length(q.distances, 1))]) AS n "
            "WHERE q.space = %(space)s"
        ).format(
            to=connection.distance,
            table=sql.Identifier(space.embeddings),
            of_neighbour=space.indexed(connection, "v.embedding"),
            of_query=space.indexed(connection, "e.embedding"),
        ),
        {"nearest": NEAREST, "space": space.name},
    ).fetchone()
    return float(row[0] / row[1]) if row and row[1] else 1.0


def note_arrivals(connection: Connection, space: Space, hashes: Sequence[Any]) -> None:
    """Add vectors that entered the indexed table to the stored results, in the same transaction."""
    if not hashes:
        return
    _note_change(connection, space, len(hashes))
    # Only vectors nearer than the last stored one: the order of the vectors behind that one is not known.
    nearer = connection.execute(
        sql.SQL(
            "SELECT q.query, n.content_hash, e.embedding {to} n.embedding AS distance FROM recall_queries q "
            "JOIN {table} e ON e.content_hash = q.query CROSS JOIN {table} n WHERE q.space = %(space)s AND "
            "n.content_hash = ANY(%(hashes)s) AND n.content_hash <> q.query AND "
            "e.embedding {to} n.embedding < q.distances[pg_catalog.array_length(q.distances, 1)]"
        ).format(to=connection.distance, table=sql.Identifier(space.embeddings)),
        {"space": space.name, "hashes": list(hashes)},
    ).fetchall()
    for query, content_hash, distance in nearer:
        connection.execute(
            "UPDATE recall_queries SET (neighbours, distances) = ("
            "SELECT pg_catalog.array_agg(n ORDER BY d), pg_catalog.array_agg(d ORDER BY d) FROM ("
            "SELECT n, d FROM unnest(neighbours || %(hash)s::uuid, distances || %(distance)s::float8) "
            "AS k (n, d) "
            "ORDER BY d LIMIT %(kept)s) AS nearest) WHERE space = %(space)s AND query = %(query)s",
            {"hash": content_hash, "distance": distance, "kept": KEPT, "space": space.name, "query": query},
        )


def forget_vectors(connection: Connection, space: Space, hashes: Sequence[Any]) -> None:
    """Remove deleted vectors from the stored results, in the same transaction."""
    _note_change(connection, space, len(hashes))
    parameters = {"space": space.name, "hashes": list(hashes)}
    connection.execute("DELETE FROM recall_queries WHERE space = %(space)s AND query = ANY(%(hashes)s)", parameters)
    connection.execute(
        "UPDATE recall_queries SET (neighbours, distances) = ("
        "SELECT coalesce(pg_catalog.array_agg(n ORDER BY d), '{}'), coalesce(pg_catalog.array_agg(d ORDER BY d), '{}') "
        "FROM unnest(neighbours, distances) AS k (n, d) WHERE n <> ALL(%(hashes)s)) "
        "WHERE space = %(space)s AND neighbours && %(hashes)s",
        parameters,
    )


def _note_change(connection: Connection, space: Space, vectors: int) -> None:
    connection.execute(
        "UPDATE spaces SET changed_since_measured = changed_since_measured + %(n)s, "
        "changed_since_searched = changed_since_searched + %(n)s WHERE name = %(name)s",
        {"n": vectors, "name": space.name},
    )


def _state(connection: Connection, space: Space) -> _State:
    with connection.cursor(row_factory=class_row(_State)) as cursor:
        found = cursor.execute(
            "SELECT measured_at, "
            # A time in the future is from before the clock was set back.
            "coalesce(measured_at NOT BETWEEN pg_catalog.now() - %(measured)s::interval AND pg_catalog.now(), true) "
            "AS measurement_is_old, "
            "coalesce(searched_at NOT BETWEEN pg_catalog.now() - %(searched)s::interval AND pg_catalog.now(), true) "
            "AS searches_are_old, "
            "changed_since_measured, changed_since_searched, recall, ef_search, "
            "(SELECT pg_catalog.count(*) FROM recall_queries q WHERE q.space = s.name AND "
            "pg_catalog.array_length(q.neighbours, 1) >= %(k)s::int) "
            "AS queries FROM spaces s WHERE name = %(name)s",
            {"measured": MEASURED_AFTER, "searched": SEARCHED_AFTER, "k": NEAREST, "name": space.name},
        ).fetchone()
    assert found is not None
    return found


def _are_searches_due(state: _State, vectors: int) -> bool:
    few = state.queries < min(SAMPLED_QUERIES // 2, vectors - NEAREST)
    return few or state.searches_are_old or state.changed_since_searched > SEARCHED_SHARE * vectors


def _is_due(state: _State, vectors: int, wanted: float) -> bool:
    if state.recall is None or state.changed_since_measured > MEASURED_SHARE * vectors:
        return True
    if state.recall < wanted and (state.ef_search or 0) < CANDIDATES_TRIED[-1]:
        return True  # the wanted recall is higher than before
    return state.measurement_is_old and state.changed_since_measured > 0


def _search_exactly(connection: Connection, space: Space) -> None:
    """Search for a sample of vectors by reading all vectors, and store the results."""
    table = sql.Identifier(space.embeddings)
    # Hashes are random, so the lowest ones are a random sample, and the same one each time.
    sample = connection.execute(
        sql.SQL("SELECT content_hash, embedding FROM {} ORDER BY content_hash LIMIT %s").format(table),
        (SAMPLED_QUERIES,),
    ).fetchall()
    found = nearest_by_reading_all(connection, space, sample, KEPT)
    with connection.transaction():
        connection.execute("DELETE FROM recall_queries WHERE space = %s", (space.name,))
        for (query, vector), neighbours in zip(sample, found, strict=True):
            # Distances are computed by Postgres, because the results of the index are compared with them.
            connection.execute(
                sql.SQL(
                    "INSERT INTO recall_queries (space, query, neighbours, distances) SELECT %(space)s, %(query)s, "
                    "coalesce(pg_catalog.array_agg(content_hash ORDER BY d), '{{}}'), "
                    "coalesce(pg_catalog.array_agg(d ORDER BY d), '{{}}') "
                    "FROM (SELECT content_hash, embedding {to} %(vector)s AS d FROM {table} "
                    "WHERE content_hash = ANY(%(neighbours)s)) AS n"
                ).format(to=connection.distance, table=table),
                {"space": space.name, "query": query, "vector": vector, "neighbours": neighbours},
            )
        connection.execute(
            "UPDATE spaces SET searched_at = pg_catalog.now(), changed_since_searched = 0 WHERE name = %s", (space.name,)
        )


def _queries(connection: Connection, space: Space) -> list[_Query]:
    """The stored queries with known nearest vectors."""
    with connection.cursor(row_factory=class_row(_Query)) as cursor:
        return cursor.execute(
            sql.SQL(
                "SELECT q.query, e.embedding, q.neighbours, q.distances FROM recall_queries q "
                "JOIN {} e ON e.content_hash = q.query WHERE q.space = %s"
            ).format(sql.Identifier(space.embeddings)),
            (space.name,),
        ).fetchall()


def _by_index(connection: Connection, space: Space, queries: Sequence[_Query], candidates: int) -> Recall:
    """Search by the index. A vector as near as the tenth nearest counts as found, because equal ones have no order."""
    statement = sql.SQL(
        "SELECT embedding {to} %s FROM {table} WHERE content_hash <> %s ORDER BY {indexed} {to} %s::{type} LIMIT %s"
    ).format(
        to=connection.distance,
        table=sql.Identifier(space.embeddings),
        indexed=space.indexed(connection),
        type=sql.Identifier(connection.pgvector, space.element_type),
    )
    found = exact = 0
    times = [0.0] if not queries else []
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL hnsw.iterative_scan = 'relaxed_order'")
        connection.execute(sql.SQL("SET LOCAL hnsw.ef_search = {}").format(sql.Literal(candidates)))
        for query in queries:
            began = time.perf_counter()
            parameters = (query.embedding, query.query, query.embedding, NEAREST)
            distances = [row[0] for row in connection.execute(statement, parameters)]
            times.append((time.perf_counter() - began) * 1_000)
            nearest = query.distances[:NEAREST]
            exact += len(nearest)
            found += sum(distance <= nearest[-1] for distance in distances) if nearest else 0
    p50, p95 = np.percentile(times, [50, 95])
    return Recall(found / max(1, exact), candidates, float(p50), float(p95))
