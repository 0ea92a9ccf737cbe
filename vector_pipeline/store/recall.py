"""Measure the recall of an index against exact search, and choose the number of candidates of a search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import sql

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.space import CANDIDATES_TRIED, Space

SAMPLED_QUERIES = 50
NEAREST = 10


@dataclass(frozen=True, slots=True)
class Recall:
    """recall@10 of an index with `candidates` candidates a search, and the times of the searches in milliseconds."""

    recall: float
    candidates: int
    p50_ms: float
    p95_ms: float


def measure_recall(connection: Connection, space: Space, wanted: float) -> Recall:
    """Search sampled vectors by the index and exactly, with more and more candidates until the recall is reached.

    The row of a sampled vector itself does not count, because any index finds it. The recall and the number of
    candidates are stored for searches.
    """
    # Hashes are random, and the sample is the same each time. So a change of the result comes from the index.
    sample = connection.execute(
        sql.SQL("SELECT content_hash, embedding FROM {} ORDER BY content_hash LIMIT %s").format(
            sql.Identifier(space.embeddings)
        ),
        (SAMPLED_QUERIES,),
    ).fetchall()
    exact = _exactly(connection, space, sample)
    found = Recall(0.0, CANDIDATES_TRIED[0], 0.0, 0.0)
    for candidates in CANDIDATES_TRIED:
        found = _by_index(connection, space, sample, exact, candidates)
        if found.recall >= wanted:
            break
    connection.execute(
        "UPDATE spaces SET recall = %s, ef_search = %s WHERE name = %s", (found.recall, found.candidates, space.name)
    )
    return found


def _nearest(space: Space) -> sql.Composed:
    return sql.SQL("SELECT content_hash FROM {} WHERE content_hash <> %s ORDER BY embedding <=> %s LIMIT %s").format(
        sql.Identifier(space.embeddings)
    )


def _exactly(connection: Connection, space: Space, sample: Sequence[tuple[Any, ...]]) -> list[set[Any]]:
    with connection.transaction():
        connection.execute("SET LOCAL enable_indexscan = off")
        return [
            {row[0] for row in connection.execute(_nearest(space), (key, vector, NEAREST))} for key, vector in sample
        ]


def _by_index(
    connection: Connection, space: Space, sample: Sequence[tuple[Any, ...]], exact: list[set[Any]], candidates: int
) -> Recall:
    found, times = 0, [0.0] if not sample else []
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL hnsw.iterative_scan = 'relaxed_order'")
        connection.execute(sql.SQL("SET LOCAL hnsw.ef_search = {}").format(sql.Literal(candidates)))
        for (key, vector), nearest in zip(sample, exact, strict=True):
            began = time.perf_counter()
            by_index = {row[0] for row in connection.execute(_nearest(space), (key, vector, NEAREST))}
            times.append((time.perf_counter() - began) * 1_000)
            found += len(by_index & nearest)
    p50, p95 = np.percentile(times, [50, 95])
    return Recall(found / max(1, sum(map(len, exact))), candidates, float(p50), float(p95))
