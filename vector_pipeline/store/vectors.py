"""Vectors in and out of a space, keyed by the hash of their text, float32 from the answer to the table."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
from pgvector import HalfVector
from psycopg import sql

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.spaces import Space

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]

# int2 dimensions, int2 unused: the head of pgvector's binary form.
_HEAD_BYTES = 4


def missing(connection: Connection, space: Space, hashes: Sequence[bytes]) -> set[bytes]:
    """Those of the hashes that have no vector in a space."""
    query = sql.SQL(
        "SELECT h FROM unnest(%s::uuid[]) AS h WHERE NOT EXISTS (SELECT FROM {} e WHERE e.content_hash = h) "
        "AND NOT EXISTS (SELECT FROM {} l WHERE l.content_hash = h)"
    ).format(sql.Identifier(space.embeddings), sql.Identifier(space.landing))
    rows = connection.execute(query, ([uuid.UUID(bytes=h) for h in hashes],), prepare=True)
    return {row[0].bytes for row in rows}


def store_vectors(connection: Connection, space: Space, hashes: Sequence[bytes], vectors: Vectors) -> int:
    """Write vectors, shape (len(hashes), dimensions), float32, in one transaction; returns how many were new.

    A hash that has a vector already, or gets one from another run at the same moment, keeps the one it has.
    """
    if len(hashes) == 0:
        return 0
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMP TABLE answered (content_hash uuid, embedding {}) ON COMMIT DROP").format(
                sql.SQL(f"{space.element_type}({space.dimensions:d})")
            )
        )
        with cursor.copy("COPY answered FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(binary_rows(space, hashes, vectors))
        # In the order of the key, so that two runs with the same hashes wait for one another and do not deadlock.
        return cursor.execute(
            sql.SQL(
                "INSERT INTO {landing} (content_hash, embedding) SELECT DISTINCT ON (content_hash) content_hash, "
                "embedding FROM answered a WHERE NOT EXISTS (SELECT FROM {embeddings} e WHERE e.content_hash = "
                "a.content_hash) ORDER BY content_hash ON CONFLICT DO NOTHING"
            ).format(landing=sql.Identifier(space.landing), embeddings=sql.Identifier(space.embeddings))
        ).rowcount


def binary_rows(space: Space, hashes: Sequence[bytes], vectors: Vectors) -> bytes:
    """Rows (uuid, vector) in the form of COPY BINARY, made as one array: no Python object per number.

    Format: https://www.postgresql.org/docs/current/sql-copy.html (Binary Format); vectors as pgvector's
    `vector_recv` and `halfvec_recv` read them.
    """
    count, dimensions = vectors.shape
    element = np.dtype(">f4") if space.element_type == "vector" else np.dtype(">f2")
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("hash_bytes", ">i4"),
            ("hash", "V16"),
            ("vector_bytes", ">i4"),
            ("dimensions", ">i2"),
            ("unused", ">i2"),
            ("elements", element, (dimensions,)),
        ]
    )
    rows = np.zeros(count, dtype=row)
    rows["fields"] = 2
    rows["hash_bytes"] = 16
    rows["hash"] = np.frombuffer(b"".join(hashes), dtype="V16")
    rows["vector_bytes"] = _HEAD_BYTES + dimensions * element.itemsize
    rows["dimensions"] = dimensions
    rows["elements"] = vectors
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"


def as_parameter(space: Space, vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> object:
    """A vector, shape (dimensions,), float32, as a parameter of the space's element type."""
    return HalfVector(vector) if space.element_type == "halfvec" else vector
