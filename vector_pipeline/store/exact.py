"""Exact search for several vectors at once: it reads all vectors of a space once.

One exact search reads everything; fifty of them read it fifty times. Here it is read once and compared in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
from psycopg import sql

from vector_pipeline.store.binary import Vectors, read_vector_rows
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.space import Space

# The number of vectors compared at a time: 25 MB at 1,536 dimensions.
COMPARED_AT_ONCE = 4_096


def nearest_by_reading_all(
    connection: Connection, space: Space, queries: Sequence[tuple[UUID, Any]], count: int
) -> list[list[UUID]]:
    """The hashes of the `count` vectors nearest to each query by cosine distance, in no order, without the query's own.

    `queries` are hashes of the space with their vectors. Memory is that of a few thousand vectors.
    """
    if not queries:
        return []
    asked = _unit(np.stack([_to_float32(vector) for _, vector in queries]))
    own = np.frombuffer(b"".join(key.bytes for key, _ in queries), dtype="V16")
    distances = np.full((len(queries), count), np.inf, dtype=np.float32)
    hashes = np.zeros((len(queries), count), dtype="V16")
    statement = sql.SQL("COPY (SELECT content_hash, embedding FROM {}) TO STDOUT (FORMAT BINARY)").format(
        sql.Identifier(space.embeddings)
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for keys, vectors in read_vector_rows(copy, space.dimensions, space.element_type, COMPARED_AT_ONCE):
            found = 1 - asked @ _unit(vectors).T
            found[own[:, None] == keys[None, :]] = np.inf
            distances = np.concatenate([distances, found], axis=1)
            hashes = np.concatenate([hashes, np.broadcast_to(keys, found.shape)], axis=1)
            nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
            distances = np.take_along_axis(distances, nearest, axis=1)
            hashes = np.take_along_axis(hashes, nearest, axis=1)
    return [
        [UUID(bytes=key.tobytes()) for key, distance in zip(keys, row, strict=True) if np.isfinite(distance)]
        for keys, row in zip(hashes, distances, strict=True)
    ]


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _to_float32(vector: Any) -> Vectors:
    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, dtype=np.float32)
