"""Encode many values at once in Postgres's binary formats, without a Python object per number, hash or field.

Format: https://www.postgresql.org/docs/current/sql-copy.html (Binary Format) and the `*_recv` functions of each type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Literal

import numpy as np
import numpy.typing as npt
import psycopg

# pgvector 0.3, which langchain-postgres still requires, has these classes elsewhere; both versions have them here.
from pgvector.psycopg.halfvec import (
    HalfVector,
    HalfVectorBinaryDumper,
    HalfVectorBinaryLoader,
    HalfVectorDumper,
    HalfVectorLoader,
)
from pgvector.psycopg.vector import Vector, VectorBinaryDumper, VectorBinaryLoader, VectorDumper, VectorLoader
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

from vector_pipeline.store.columns import WRITTEN

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]

# The beginning and the end of the data of COPY BINARY.
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TAIL = b"\xff\xff"

# Type oids (pg_type.dat): of the element and of its array.
_UUID, _UUIDS = 2950, 2951
_INT4, _INT4S = 23, 1007
_TEXT, _TEXTS = 25, 1009
_BYTEA = 17

# int2 dimensions, int2 unused: the head of pgvector's binary form.
_VECTOR_HEAD_BYTES = 4


class Array:
    """An array as a parameter, in Postgres's binary form."""

    __slots__ = ("data",)

    def __init__(self, element: int, count: int, items: bytes) -> None:
        # The number of dimensions, no NULLs, the element type; then for the one dimension its length and first index.
        head = np.array([1, 0, element, count, 1] if count else [0, 0, element], dtype=">i4")
        self.data = head.tobytes() + items


class UuidArray(Array):
    """Keys of 16 bytes as a parameter of type uuid[]."""

    __slots__ = ()

    def __init__(self, keys: Iterable[bytes]) -> None:
        joined = b"".join(keys)
        rows = np.empty(len(joined) // 16, dtype=[("bytes", ">i4"), ("key", "V16")])
        rows["bytes"] = 16
        rows["key"] = np.frombuffer(joined, dtype="V16")
        super().__init__(_UUID, len(rows), rows.tobytes())


class Int4Array(Array):
    """Integers as a parameter of type int[]."""

    __slots__ = ()

    def __init__(self, values: Sequence[int]) -> None:
        rows = np.empty(len(values), dtype=[("bytes", ">i4"), ("value", ">i4")])
        rows["bytes"] = 4
        rows["value"] = values
        super().__init__(_INT4, len(rows), rows.tobytes())


class TextArray(Array):
    """Texts as a parameter of type text[]. None may hold a NUL."""

    __slots__ = ()

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [text.encode() for text in texts]
        items = b"".join([part for text in encoded for part in (_LENGTH.pack(len(text)), text)])
        super().__init__(_TEXT, len(encoded), items)


class ByteaArray(Array):
    """Bytes as a value of type bytea[] in a COPY."""

    __slots__ = ()

    def __init__(self, values: Sequence[bytes]) -> None:
        items = b"".join([part for value in values for part in (_LENGTH.pack(len(value)), value)])
        super().__init__(_BYTEA, len(values), items)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> Buffer:
        return obj.data


class _UuidArrayDumper(_ArrayDumper):
    oid = _UUIDS


class _Int4ArrayDumper(_ArrayDumper):
    oid = _INT4S


class _TextArrayDumper(_ArrayDumper):
    oid = _TEXTS


def register(connection: psycopg.Connection[object]) -> None:
    """Let a connection accept the arrays of this module as parameters."""
    connection.adapters.register_dumper(UuidArray, _UuidArrayDumper)
    connection.adapters.register_dumper(Int4Array, _Int4ArrayDumper)
    connection.adapters.register_dumper(TextArray, _TextArrayDumper)


def register_vectors(connection: psycopg.Connection[object], oids: Mapping[str, int]) -> None:
    """Let a connection read and write pgvector's types. `oids` maps the names of those in the database to their oids.

    pgvector's own register_vector creates classes for each connection, and psycopg never frees them. The memory of a
    process that connects again and again, like a run or the sensor, would grow without end (pgvector 0.5, psycopg 3.3).
    Parameters of these classes have no type, so Postgres gives them the type of the value that they are compared with.
    """
    adapters = connection.adapters
    for kind in (VectorDumper, VectorBinaryDumper):
        adapters.register_dumper(Vector, kind)
        adapters.register_dumper(np.ndarray, kind)
    for half in (HalfVectorDumper, HalfVectorBinaryDumper):
        adapters.register_dumper(HalfVector, half)
    if oid := oids.get("vector"):
        adapters.register_loader(oid, VectorLoader)
        adapters.register_loader(oid, VectorBinaryLoader)
    if oid := oids.get("halfvec"):
        adapters.register_loader(oid, HalfVectorLoader)
        adapters.register_loader(oid, HalfVectorBinaryLoader)


def _vector_row(dimensions: int, element_type: Literal["vector", "halfvec"]) -> np.dtype[np.void]:
    element = np.dtype(">f4") if element_type == "vector" else np.dtype(">f2")
    return np.dtype(
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


def read_vector_rows(
    pieces: Iterable[Buffer], dimensions: int, element_type: Literal["vector", "halfvec"], count: int
) -> Iterator[tuple[npt.NDArray[np.void], Vectors]]:
    """Rows (uuid, vector) of a binary COPY: hashes, shape (n,), and vectors, (n, dimensions), float32; n <= `count`."""
    row = _vector_row(dimensions, element_type)
    head = len(COPY_HEAD)
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= head + count * row.itemsize:
            yield _parsed(gathered, row, count)
            # What is left begins as the whole did, so that each part is read in one way.
            del gathered[head : head + count * row.itemsize]
    left = (len(gathered) - head) // row.itemsize
    if left > 0:
        yield _parsed(gathered, row, left)


def _parsed(gathered: bytearray, row: np.dtype[np.void], count: int) -> tuple[npt.NDArray[np.void], Vectors]:
    rows = np.frombuffer(bytes(gathered), dtype=row, count=count, offset=len(COPY_HEAD))
    return rows["hash"].copy(), rows["elements"].astype(np.float32)


def vector_rows(hashes: Sequence[bytes], vectors: Vectors, element_type: Literal["vector", "halfvec"]) -> memoryview:
    """Rows (uuid, vector) for COPY, of vectors of shape (len(hashes), dimensions), float32."""
    count, dimensions = vectors.shape
    row = _vector_row(dimensions, element_type)
    rows = np.empty(count, dtype=row)
    rows["fields"] = 2
    rows["hash_bytes"] = 16
    rows["hash"] = np.frombuffer(b"".join(hashes), dtype="V16")
    rows["vector_bytes"] = _VECTOR_HEAD_BYTES + row["elements"].itemsize
    rows["dimensions"] = dimensions
    rows["unused"] = 0
    rows["elements"] = vectors
    return memoryview(rows.view(np.uint8).data)


# The parts of a row of `chunks`: the number of fields; then each field after its length.
_KEYS = Struct(">hi16si16si")
_LENGTH = Struct(">i")
_PLACE = Struct(">iiiiiii")
_METADATA = Struct(">ib")
_END = Struct(">iii16si")
_NULL = -1


def chunk_row(
    key: bytes,
    source_key: bytes,
    source: bytes,
    document_id: bytes,
    position: tuple[int, int, int],
    page_content: bytes,
    metadata: bytes,
    token_count: int,
    content_hash: bytes,
    section: bytes | None,
) -> bytes:
    """A row of `chunks` for COPY with the fields of columns.WRITTEN. `position` is chunk_index, start_char, end_char."""
    index, start, end = position
    return b"".join(
        (
            _KEYS.pack(len(WRITTEN), 16, key, 16, source_key, len(source)),
            source,
            _LENGTH.pack(len(document_id)),
            document_id,
            _PLACE.pack(4, index, 4, start, 4, end, len(page_content)),
            page_content,
            # jsonb is a version byte followed by the text.
            _METADATA.pack(len(metadata) + 1, 1),
            metadata,
            _END.pack(4, token_count, 16, content_hash, _NULL if section is None else len(section)),
            section or b"",
        )
    )
