"""Read and write the vectors of a space. Their key is the hash of their text; they stay float32 until COPY."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import psycopg
from pgvector.psycopg.halfvec import HalfVector
from psycopg import sql

from vector_pipeline.errors import SpaceMismatch
from vector_pipeline.store.binary import COPY_HEAD, COPY_TAIL, UuidArray, Vectors, vector_rows
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.counts import add_rows
from vector_pipeline.store.locks import Lock, lock_in_transaction
from vector_pipeline.store.space import Space

ROWS_IN_BLOCK = 64


def select_missing(connection: Connection, space: Space, hashes: Iterable[bytes]) -> psycopg.Cursor[tuple[bytes]]:
    """Select the hashes that have no vector in a space. In pipeline mode, fetching from the cursor waits for them."""
    query = sql.SQL(
        "SELECT pg_catalog.uuid_send(h) FROM pg_catalog.unnest(%s) AS h WHERE NOT EXISTS (SELECT FROM {} e "
        "WHERE e.content_hash = h) AND NOT EXISTS (SELECT FROM {} l WHERE l.content_hash = h)"
    ).format(sql.Identifier(space.embeddings), sql.Identifier(space.landing))
    return connection.execute(query, (UuidArray(hashes),), prepare=True)


def missing(connection: Connection, space: Space, hashes: Iterable[bytes]) -> set[bytes]:
    """The hashes that have no vector in a space."""
    return {row[0] for row in select_missing(connection, space, hashes)}


def store_vectors(connection: Connection, space: Space, hashes: Sequence[bytes], vectors: Vectors) -> int:
    """Write vectors, shape (len(hashes), dimensions), float32, in one transaction; returns how many were new.

    If a hash already has a vector, or gets one from another run at the same moment, that vector stays.
    Raises SpaceMismatch and writes nothing if the vectors have other dimensions than the space.
    """
    if len(hashes) == 0:
        return 0
    if vectors.shape != (len(hashes), space.dimensions):
        raise SpaceMismatch(
            f"{len(hashes):,} texts were answered with vectors of shape {vectors.shape}, but space {space.name} "
            f"holds {space.dimensions:,} dimensions; check VECTOR_PIPELINE_MODEL and VECTOR_PIPELINE_DIMENSIONS"
        )
    with connection.transaction():
        with connection.pipeline():
            lock_in_transaction(connection, Lock.LOADS, shared=True)
            connection.execute("SAVEPOINT before_copy")
        # Sorted, so that two runs with the same hashes wait for one another and do not deadlock.
        places = sorted({h: i for i, h in enumerate(hashes)}.items())
        while not _stored(connection, space, vectors, places):
            # Some exist already or came from another run at this moment. Try again with the others.
            new = missing(connection, space, [h for h, _ in places])
            places = [(h, i) for h, i in places if h in new]
        # Remove from the landing table what the indexed table already has.
        stored = len(places) - _delete_moved(connection, space, [h for h, _ in places])
        add_rows(connection, space.landing, stored)
        return stored


def _stored(connection: Connection, space: Space, vectors: Vectors, places: Sequence[tuple[bytes, int]]) -> bool:
    """Copy vectors into the landing table. If it already has one of them, write nothing and return False."""
    try:
        _copy(connection, space, [h for h, _ in places], vectors, [i for _, i in places])
    except psycopg.errors.UniqueViolation:
        connection.execute("ROLLBACK TO SAVEPOINT before_copy")
        return False
    return True


def _copy(connection: Connection, space: Space, hashes: Sequence[bytes], vectors: Vectors, order: list[int]) -> None:
    statement = sql.SQL("COPY {} (content_hash, embedding) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(space.landing)
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEAD)
        # The server reads one block while this process prepares the next.
        for start in range(0, len(hashes), ROWS_IN_BLOCK):
            place = slice(start, start + ROWS_IN_BLOCK)
            copy.write(vector_rows(hashes[place], vectors[order[place]], space.element_type))
        copy.write(COPY_TAIL)


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
