"""Vectors in and out of a space, keyed by the hash of their text, float32 from the answer to the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import psycopg
from pgvector import HalfVector
from psycopg import sql

from vector_pipeline.errors import SpaceMismatch
from vector_pipeline.store.binary import COPY_HEAD, COPY_TAIL, UuidArray, Vectors, vector_rows
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.spaces import LOAD_OR_SWEEP, Space

ROWS_IN_BLOCK = 256


def missing(connection: Connection, space: Space, hashes: Sequence[bytes]) -> set[bytes]:
    """Those of the hashes that have no vector in a space."""
    query = sql.SQL(
        "SELECT uuid_send(h) FROM unnest(%s) AS h WHERE NOT EXISTS (SELECT FROM {} e WHERE e.content_hash = h) "
        "AND NOT EXISTS (SELECT FROM {} l WHERE l.content_hash = h)"
    ).format(sql.Identifier(space.embeddings), sql.Identifier(space.landing))
    return {row[0] for row in connection.execute(query, (UuidArray(hashes),), prepare=True)}


def store_vectors(connection: Connection, space: Space, hashes: Sequence[bytes], vectors: Vectors) -> int:
    """Write vectors, shape (len(hashes), dimensions), float32, in one transaction; returns how many were new.

    A hash that has a vector already, or gets one from another run at the same moment, keeps the one it has.
    Raises SpaceMismatch, with nothing written, where the vectors have other dimensions than the space.
    """
    if len(hashes) == 0:
        return 0
    if vectors.shape != (len(hashes), space.dimensions):
        raise SpaceMismatch(
            f"{len(hashes):,} texts were answered with vectors of shape {vectors.shape}, but space {space.name} "
            f"holds {space.dimensions:,} dimensions; check VECTOR_PIPELINE_MODEL and VECTOR_PIPELINE_DIMENSIONS"
        )
    with connection.transaction():
        connection.execute(LOAD_OR_SWEEP.format(shared="_shared"))
        new = missing(connection, space, hashes)
        # Sorted, so that two runs that bring the same hashes wait for one another and do not deadlock.
        places = sorted({h: i for i, h in enumerate(hashes) if h in new}.items())
        if not places:
            return 0
        names = [h for h, _ in places]
        order = [i for _, i in places]
        try:
            with connection.transaction():
                _copy(connection, space.landing, _blocks(space, names, vectors, order))
            stored = len(names)
        except psycopg.errors.UniqueViolation:
            stored = _copy_around(connection, space, _blocks(space, names, vectors, order))
        # Where a row was moved under the index between the look and the COPY, it stands there already.
        return stored - _delete_moved(connection, space, names)


def _blocks(
    space: Space, hashes: Sequence[bytes], vectors: Vectors, order: Sequence[int]
) -> Iterator[bytes | memoryview]:
    # The server takes in one block while the next is made.
    yield COPY_HEAD
    for start in range(0, len(hashes), ROWS_IN_BLOCK):
        place = slice(start, start + ROWS_IN_BLOCK)
        yield vector_rows(hashes[place], vectors[order[place]], space.element_type)
    yield COPY_TAIL


def _copy(connection: Connection, table: str, blocks: Iterable[bytes | memoryview]) -> None:
    statement = sql.SQL("COPY {} (content_hash, embedding) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in blocks:
            copy.write(block)


def _copy_around(connection: Connection, space: Space, blocks: Iterable[bytes | memoryview]) -> int:
    """Write rows of which another run has just written some; returns how many were new."""
    connection.execute(
        sql.SQL("CREATE TEMP TABLE answered ON COMMIT DROP AS SELECT content_hash, embedding FROM {} LIMIT 0").format(
            sql.Identifier(space.landing)
        )
    )
    _copy(connection, "answered", blocks)
    return connection.execute(
        sql.SQL(
            "INSERT INTO {} (content_hash, embedding) SELECT content_hash, embedding FROM answered "
            "ORDER BY content_hash ON CONFLICT DO NOTHING"
        ).format(sql.Identifier(space.landing))
    ).rowcount


def _delete_moved(connection: Connection, space: Space, hashes: Sequence[bytes]) -> int:
    return connection.execute(
        sql.SQL("DELETE FROM {} l USING {} e WHERE l.content_hash = ANY(%s) AND e.content_hash = l.content_hash").format(
            sql.Identifier(space.landing), sql.Identifier(space.embeddings)
        ),
        (UuidArray(hashes),),
    ).rowcount


def as_parameter(space: Space, vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> object:
    """A vector, shape (dimensions,), float32, as a parameter of the space's element type."""
    return HalfVector(vector) if space.element_type == "halfvec" else vector
