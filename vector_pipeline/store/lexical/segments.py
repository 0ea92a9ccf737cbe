"""Segments: turn landed texts into one, and merge several into one. Each is a single transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, starmap
from struct import Struct
from typing import NamedTuple

import numpy as np
import orjson

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.binary import COPY_HEAD, COPY_TAIL, ByteaArray, Int4Array, TextArray, UuidArray
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.lexical import bm25
from vector_pipeline.store.lexical.bm25 import Lengths, SegmentBuilder, TermPostings
from vector_pipeline.store.lexical.postings import Encoded, Int64s, decoded_together, encoded
from vector_pipeline.store.locks import Lock, lock_in_transaction

# The number of landed texts for one segment and transaction. Their postings take about 100 MB of memory.
LANDED_AT_ONCE = 50_000
TERMS_FETCHED = 5_000
# Encoded postings that are merged together. Their arrays take about 60 times as much memory.
MERGED_BYTES = 1 << 18
COPIED_BYTES = 4 << 20

# A term of its own row takes some 80 bytes beside its postings. In a block, which is compressed, it takes about ten.
# Half of the terms of natural text occur once.
MAX_BYTES_IN_BLOCK = 120
# Before compression. A search reads a block for each term that it looks for.
BLOCK_BYTES = 6_000
# Of an element of an array in Postgres.
ELEMENT_OVERHEAD_BYTES = 6


Hashes = np.ndarray[tuple[int], np.dtype[np.void]]
"""The hashes of texts, 16 bytes each."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment: the number of its texts, and of all their terms."""

    key: int
    texts: int
    length: int


class TextsCameBack(DatabaseError):
    """A merge left out an unreferenced text, but a load now refers to it again. The merge has to be repeated."""


def list_segments(connection: Connection) -> list[Segment]:
    """All segments, oldest first."""
    rows = connection.execute("SELECT segment, texts, length FROM lexical_segments ORDER BY segment")
    return [Segment(*row) for row in rows]


def flush_landing(connection: Connection) -> int:
    """Turn up to LANDED_AT_ONCE landed texts into a segment; returns the number of texts that left the landing table."""
    with connection.transaction():
        builder, taken = SegmentBuilder(), []
        statement = (
            "COPY (SELECT pg_catalog.uuid_send(l.content_hash), l.length, l.terms::text, t.segment IS NULL "
            "FROM lexical_landing l LEFT JOIN lexical_texts t USING (content_hash) LIMIT "
            f"{LANDED_AT_ONCE}) TO STDOUT (FORMAT BINARY)"
        )
        # The server reads the next texts while this process collects these.
        with connection.cursor() as cursor, cursor.copy(statement.encode()) as rows:
            rows.set_types(("bytea", "int4", "text", "bool"))
            for content_hash, length, terms, is_new in rows.rows():
                taken.append(content_hash)
                if is_new:  # else two loads brought it, and a flush came between them
                    builder.add(content_hash, length, orjson.loads(terms))
        if builder.hashes:
            hashes = np.frombuffer(b"".join(builder.hashes), dtype="V16")
            _write(connection, hashes, builder.lengths, builder.postings())
        connection.execute("DELETE FROM lexical_landing WHERE content_hash = ANY(%s)", (UuidArray(taken),))
    return len(taken)


def merge_segments(connection: Connection, segments: Sequence[Segment], *, at_once: int = MERGED_BYTES) -> int:
    """Merge segments into one, without the texts that no chunk refers to; returns the number of these texts.

    Terms are merged together until they have `at_once` bytes of encoded postings.
    Raises TextsCameBack, with nothing changed, where one of those was loaded again meanwhile.
    """
    keys = [segment.key for segment in segments]
    with connection.transaction():
        placed = [_placed(connection, key) for key in keys]
        hashes = np.concatenate([found.hashes[found.kept] for found in placed])
        if len(hashes):
            lengths = np.concatenate([found.lengths[found.kept] for found in placed])
            _write(connection, hashes, lengths, _merged(connection, dict(zip(keys, placed, strict=True)), at_once))
        for table in ("lexical_postings", "lexical_blocks", "lexical_texts", "lexical_segments"):
            connection.execute(f"DELETE FROM {table} WHERE segment = ANY(%s)", (keys,))
        gone = [h.tobytes() for found in placed for h in found.hashes[~found.kept]]
        if gone:
            # No load runs at the same time, so texts that a load found split are still there when it ends.
            lock_in_transaction(connection, Lock.LOADS)
            query = "SELECT FROM chunks WHERE content_hash = ANY(%s) LIMIT 1"
            if connection.execute(query, (UuidArray(gone),)).fetchone() is not None:
                raise TextsCameBack("texts that nothing referred to were loaded again while segments were merged")
    return len(gone)


_PLACED_ROW = np.dtype(
    [("fields", ">i2"), ("hash_bytes", ">i4"), ("hash", "V16"), ("kept_bytes", ">i4"), ("kept", np.bool_)]
)


@dataclass(slots=True)
class _Placed:
    """The texts of a segment. `kept` marks those that a chunk refers to. Arrays have the shape (texts,)."""

    hashes: Hashes
    lengths: Lengths
    kept: np.ndarray[tuple[int], np.dtype[np.bool_]]


def _placed(connection: Connection, segment: int) -> _Placed:
    statement = (
        "COPY (SELECT content_hash, EXISTS (SELECT FROM chunks c WHERE c.content_hash = t.content_hash) "
        f"FROM lexical_texts t WHERE segment = {segment:d} ORDER BY ordinal) TO STDOUT (FORMAT BINARY)"
    )
    # Into arrays, because a million texts as Python objects take 200 MB.
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        data = b"".join(copy)
    count = (len(data) - len(COPY_HEAD)) // _PLACED_ROW.itemsize
    rows = np.frombuffer(data, dtype=_PLACED_ROW, count=count, offset=len(COPY_HEAD))
    row = connection.execute("SELECT lengths FROM lexical_segments WHERE segment = %s", (segment,)).fetchone()
    assert row is not None
    lengths = np.frombuffer(row[0], dtype="<u2").astype(np.uint16)
    return _Placed(rows["hash"].copy(), lengths, rows["kept"].copy())


def _merged(connection: Connection, placed: dict[int, _Placed], at_once: int) -> Iterator[TermPostings]:
    """Yield the postings of several segments, term by term, with the ordinals of the merged one."""
    kept = np.concatenate([found.kept for found in placed.values()])
    ordinals = np.where(kept, np.cumsum(kept) - 1, -1)
    sizes = [len(found.kept) for found in placed.values()]
    firsts = dict(zip(placed, np.cumsum([0, *sizes]).tolist(), strict=False))
    for rows in _together(_stored(connection, list(placed)), at_once):
        yield from _moved(rows, ordinals, firsts)


def _together(rows: Iterable[_Stored], at_once: int) -> Iterator[list[_Stored]]:
    """Yield rows in lists of about so many bytes. All rows of a term are in one list."""
    found: list[_Stored] = []
    size = 0
    for row in rows:
        if size >= at_once and row.term != found[-1].term:
            yield found
            found, size = [], 0
        found.append(row)
        size += len(row.postings)
    if found:
        yield found


def _moved(rows: Sequence[_Stored], ordinals: Int64s, firsts: Mapping[int, int]) -> Iterator[TermPostings]:
    """Yield the postings of each term with new ordinals, without those of texts that have none.

    `ordinals` has the new ordinal of each text of all segments, or -1; `firsts` the place of each segment's first text.
    """
    stored, counts = decoded_together([row.postings for row in rows])
    before = np.repeat([firsts[row.segment] for row in rows], counts)
    moved = ordinals[before + (stored >> bm25.FREQUENCY_BITS)]
    left = bm25.packed(moved, stored & bm25.MAX_FREQUENCY)[moved >= 0]
    ends = np.cumsum(np.add.reduceat(moved >= 0, np.cumsum(counts) - counts, dtype=np.int64)).tolist()
    start = 0
    for term, of_term in groupby(zip(rows, ends, strict=True), key=lambda row: row[0].term):
        *_, (_, end) = of_term
        if end > start:
            yield term, left[start:end]
        start = end


class _Stored(NamedTuple):
    """The postings of a term in a segment, encoded."""

    term: str
    segment: int
    postings: bytes


def _stored(connection: Connection, keys: Sequence[int]) -> Iterator[_Stored]:
    """Yield all postings of some segments, in the order of terms and segments."""
    with connection.cursor(name="lexical_merge", binary=True) as cursor:
        cursor.itersize = TERMS_FETCHED
        cursor.execute(
            "SELECT term, segment, postings FROM lexical_postings WHERE segment = ANY(%(keys)s) UNION ALL "
            "SELECT u.term, b.segment, u.postings FROM lexical_blocks b "
            "CROSS JOIN LATERAL unnest(b.terms, b.postings) AS u (term, postings) WHERE b.segment = ANY(%(keys)s) "
            "ORDER BY term, segment",
            {"keys": list(keys)},
        )
        yield from starmap(_Stored, cursor)


def _write(connection: Connection, hashes: Hashes, lengths: Lengths, postings: Iterable[TermPostings]) -> None:
    row = connection.execute(
        "INSERT INTO lexical_segments (texts, length, lengths) VALUES (%s, %s, %s) RETURNING segment",
        (len(hashes), int(lengths.sum(dtype=np.int64)), lengths.astype("<u2").tobytes()),
    ).fetchone()
    assert row is not None
    _write_texts(connection, hashes, row[0])
    written = _Written(connection, row[0])
    for one in encoded(postings, len(hashes)):
        written.add(one)
    written.end()


def _write_texts(connection: Connection, hashes: Hashes, segment: int) -> None:
    row = np.dtype(
        [
            *(("fields", ">i2"), ("hash_bytes", ">i4"), ("hash", "V16"), ("segment_bytes", ">i4")),
            *(("segment", ">i4"), ("ordinal_bytes", ">i4"), ("ordinal", ">i4")),
        ]
    )
    rows = np.empty(len(hashes), dtype=row)
    rows["fields"] = 3
    rows["hash_bytes"] = 16
    rows["hash"] = hashes
    rows["segment_bytes"] = rows["ordinal_bytes"] = 4
    rows["segment"] = segment
    rows["ordinal"] = np.arange(len(hashes))
    statement = b"COPY lexical_texts (content_hash, segment, ordinal) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEAD)
        copy.write(rows.tobytes())
        copy.write(COPY_TAIL)


@dataclass(slots=True)
class _Written:
    """The terms of a new segment on their way into its tables, in their order."""

    connection: Connection
    segment: int
    rows: list[bytes] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)
    size: int = 0
    """Bytes of `rows` and `blocks`."""
    block: list[Encoded] = field(default_factory=list)
    block_size: int = 0

    def add(self, one: Encoded) -> None:
        """Add a term: one with few postings to a block, another one as a row of its own."""
        if len(one.data) <= MAX_BYTES_IN_BLOCK:
            self.block.append(one)
            self.block_size += len(one.term.encode()) + len(one.data) + 2 * ELEMENT_OVERHEAD_BYTES
            if self.block_size > BLOCK_BYTES:
                self._end_block()
        else:
            self.rows.append(_row(self.segment, one))
            self.size += len(self.rows[-1])
        if self.size > COPIED_BYTES:
            self._copy()

    def end(self) -> None:
        """Write what is left."""
        self._end_block()
        self._copy()

    def _end_block(self) -> None:
        if self.block:
            self.blocks.append(_block_row(self.segment, self.block))
            self.size += len(self.blocks[-1])
            self.block, self.block_size = [], 0

    def _copy(self) -> None:
        for columns, rows in (
            ("lexical_postings (segment, texts, term, postings)", self.rows),
            ("lexical_blocks (segment, first_term, terms, texts, postings)", self.blocks),
        ):
            if rows:
                statement = f"COPY {columns} FROM STDIN (FORMAT BINARY)".encode()
                with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
                    copy.write(b"".join((COPY_HEAD, *rows, COPY_TAIL)))
        self.rows, self.blocks, self.size = [], [], 0


# Each field of a row follows its length.
_HEAD = Struct(">hiiiii")
_BLOCK_HEAD = Struct(">hiii")
_LENGTH = Struct(">i")


def _row(segment: int, one: Encoded) -> bytes:
    name = one.term.encode()
    head = _HEAD.pack(4, 4, segment, 4, one.texts, len(name))
    return b"".join((head, name, _LENGTH.pack(len(one.data)), one.data))


def _block_row(segment: int, block: Sequence[Encoded]) -> bytes:
    first = block[0].term.encode()
    arrays = (
        TextArray([one.term for one in block]).data,
        Int4Array([one.texts for one in block]).data,
        ByteaArray([one.data for one in block]).data,
    )
    fields = [part for array in arrays for part in (_LENGTH.pack(len(array)), array)]
    return b"".join((_BLOCK_HEAD.pack(5, 4, segment, len(first)), first, *fields))
