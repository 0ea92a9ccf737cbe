"""The batched insert: chunks of some files into the table in one transaction, and files out of it.

What did not change is not touched: a chunk keeps its row, its `id` and its `created_at` through every reload, and an
edit of one paragraph writes one row and moves the positions behind it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import starmap

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store import vectors
from vector_pipeline.store.binary import CHUNK_COLUMNS, COPY_HEAD, COPY_TAIL, Int4Array, TextArray, UuidArray, chunk_row
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.spaces import LOAD_OR_SWEEP, active_space

ROWS_IN_BLOCK = 256


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk as the table holds it; `metadata` is JSON text, offsets count characters."""

    document_id: str
    chunk_index: int
    start_char: int
    end_char: int
    page_content: str
    metadata: str
    token_count: int
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class SourceRows:
    """All chunks of a file, as it was read: `fingerprint` is the manifest's at that time."""

    source_key: bytes
    path: str
    fingerprint: str
    encoding: str
    documents: int
    pipeline: str
    chunks: Sequence[ChunkRow]


@dataclass(slots=True)
class LoadOutcome:
    """What became of a batch: `rows` that the loaded files have, `written` of them, paths loaded and not."""

    rows: int = 0
    written: int = 0
    loaded: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    missing_vectors: dict[str, set[bytes]] = field(default_factory=dict)


_Identified = tuple[bytes, SourceRows, ChunkRow]
"""A chunk with its id and its file."""


# Compared on the server, so that of a file of many chunks only what differs crosses the wire.
_DIFFERENCES = """
WITH now AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s, %(indexes)s, %(starts)s, %(ends)s, %(metadata)s::jsonb[])
    WITH ORDINALITY AS n (id, chunk_index, start_char, end_char, metadata, place)
)
SELECT uuid_send(c.id), n.place - 1 FROM now n FULL JOIN (
    SELECT id, chunk_index, start_char, end_char, metadata FROM chunks WHERE source_key = ANY(%(sources)s)
) c USING (id)
WHERE c.id IS NULL OR n.id IS NULL OR n.chunk_index <> c.chunk_index OR n.start_char <> c.start_char
    OR n.end_char <> c.end_char OR n.metadata <> c.metadata
"""


def chunk_id(source_key: bytes, document_id: str, content_hash: bytes, occurrence: int) -> bytes:
    """The id of a chunk: of file, document, text, and which occurrence of that text in the document it is."""
    data = source_key + content_hash + occurrence.to_bytes(8) + document_id.encode()
    return hashlib.blake2b(data, digest_size=16).digest()


def load_sources(connection: Connection, arrival: str, batch: Sequence[SourceRows]) -> LoadOutcome:
    """Put the chunks of some files into the table, in one transaction.

    Loads only files that the arrival still owns as they were read, and only those of which every text has a vector
    in the active space; the others are named in the outcome and stay as they are. Files are locked in the order of
    their keys, so two loads never deadlock.
    """
    outcome = LoadOutcome()
    with connection.transaction():
        connection.execute(LOAD_OR_SWEEP.format(shared="_shared"))
        owned, with_rows = _lock_owned(connection, arrival, batch, outcome)
        missing = _missing(connection, list({chunk.content_hash for source in owned for chunk in source.chunks}))
        complete = []
        for source in owned:
            lacking = {chunk.content_hash for chunk in source.chunks} & missing
            if lacking:
                outcome.missing_vectors[source.path] = lacking
            else:
                complete.append(source)
        if complete:
            _write(connection, complete, with_rows, outcome)
            _mark_loaded(connection, arrival, complete)
    return outcome


def _missing(connection: Connection, hashes: Sequence[bytes]) -> set[bytes]:
    if not hashes:
        return set()  # files without any text, which may be the first ones there are
    space = active_space(connection)
    if space is None:
        raise DatabaseError("there is no space yet: nothing was ever embedded; run the stages before this one")
    return vectors.missing(connection, space, hashes)


def _lock_owned(
    connection: Connection, arrival: str, batch: Sequence[SourceRows], outcome: LoadOutcome
) -> tuple[list[SourceRows], set[bytes]]:
    """The files that are to be loaded, and the keys of those that have rows already."""
    rows = connection.execute(
        "SELECT uuid_send(source_key), arrival, fingerprint, gone OR status = 'deleted', "
        "EXISTS (SELECT FROM chunks c WHERE c.source_key = s.source_key) "
        "FROM source_files s WHERE source_key = ANY(%s) ORDER BY source_key FOR UPDATE",
        (UuidArray(source.source_key for source in batch),),
    )
    now = {row[0]: row[1:] for row in rows}
    owned = []
    for source in batch:
        owner, fingerprint, gone, _ = now.get(source.source_key, (None, "", True, False))
        if gone or owner != arrival:
            outcome.skipped[source.path] = "belongs to a later arrival"
        elif fingerprint != source.fingerprint:
            outcome.skipped[source.path] = "changed since it was read"
        else:
            owned.append(source)
    return owned, {key for key, (*_, has_rows) in now.items() if has_rows}


def _write(connection: Connection, sources: Sequence[SourceRows], with_rows: set[bytes], outcome: LoadOutcome) -> None:
    fresh: list[_Identified] = []
    standing: list[_Identified] = []
    for source in sources:
        outcome.loaded.append(source.path)
        outcome.rows += len(source.chunks)
        (standing if source.source_key in with_rows else fresh).extend(_identified(source))
    keys = [source.source_key for source in sources if source.source_key in with_rows]
    if keys:
        gone, moved, new = _differences(connection, keys, standing)
        delete_rows(connection, gone)
        if moved:
            _move(connection, moved)
        fresh += new
        outcome.written += len(gone) + len(moved)
    if fresh:
        _copy(connection, fresh)
    outcome.written += len(fresh)


def _identified(source: SourceRows) -> list[_Identified]:
    found = []
    seen: dict[tuple[str, bytes], int] = {}
    for chunk in source.chunks:
        text = (chunk.document_id, chunk.content_hash)
        occurrence = seen.get(text, 0)
        seen[text] = occurrence + 1
        found.append((chunk_id(source.source_key, chunk.document_id, chunk.content_hash, occurrence), source, chunk))
    return found


def _differences(
    connection: Connection, keys: Collection[bytes], chunks: Sequence[_Identified]
) -> tuple[list[bytes], list[_Identified], list[_Identified]]:
    """How chunks differ from the rows of their files: ids of rows that are gone, chunks that moved, and fresh ones."""
    rows = connection.execute(
        _DIFFERENCES, {"sources": UuidArray(keys), "ids": UuidArray([key for key, _, _ in chunks]), **_places(chunks)}
    ).fetchall()
    return (
        [key for key, place in rows if place is None],
        [chunks[place] for key, place in rows if key is not None and place is not None],
        [chunks[place] for key, place in rows if key is None],
    )


def _places(chunks: Sequence[_Identified]) -> dict[str, object]:
    return {
        "indexes": Int4Array([chunk.chunk_index for _, _, chunk in chunks]),
        "starts": Int4Array([chunk.start_char for _, _, chunk in chunks]),
        "ends": Int4Array([chunk.end_char for _, _, chunk in chunks]),
        "metadata": TextArray([chunk.metadata for _, _, chunk in chunks]),
    }


def _move(connection: Connection, chunks: Sequence[_Identified]) -> None:
    connection.execute(
        "UPDATE chunks c SET chunk_index = m.i, start_char = m.s, end_char = m.e, metadata = m.m, updated_at = now() "
        "FROM unnest(%(ids)s, %(indexes)s, %(starts)s, %(ends)s, %(metadata)s::jsonb[]) AS m (id, i, s, e, m) "
        "WHERE c.id = m.id",
        {"ids": UuidArray([key for key, _, _ in chunks]), **_places(chunks)},
    )


def _copy(connection: Connection, fresh: Sequence[_Identified]) -> None:
    statement = f"COPY chunks ({CHUNK_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEAD)
        # The server takes in one block while the next is made.
        for start in range(0, len(fresh), ROWS_IN_BLOCK):
            copy.write(b"".join(starmap(_binary, fresh[start : start + ROWS_IN_BLOCK])))
        copy.write(COPY_TAIL)


def _binary(key: bytes, source: SourceRows, chunk: ChunkRow) -> bytes:
    return chunk_row(
        key,
        source.source_key,
        source.path.encode(),
        chunk.document_id.encode(),
        (chunk.chunk_index, chunk.start_char, chunk.end_char),
        chunk.page_content.encode(),
        chunk.metadata.encode(),
        chunk.token_count,
        chunk.content_hash,
    )


def delete_rows(connection: Connection, ids: Sequence[bytes]) -> None:
    """Delete chunks and note the hashes that no chunk refers to any more."""
    if ids:
        connection.execute(
            "WITH gone AS (DELETE FROM chunks WHERE id = ANY(%s) RETURNING id, content_hash) "
            "INSERT INTO unreferenced_hashes (content_hash) SELECT DISTINCT content_hash FROM gone g WHERE NOT EXISTS "
            "(SELECT FROM chunks c WHERE c.content_hash = g.content_hash AND c.id <> ALL(%s)) "
            "ORDER BY 1 ON CONFLICT (content_hash) DO UPDATE SET since = now()",
            (UuidArray(ids), UuidArray(ids)),
        )


def _mark_loaded(connection: Connection, arrival: str, sources: Sequence[SourceRows]) -> None:
    connection.execute(
        "UPDATE source_files s SET status = 'loaded', error = NULL, loaded_at = now(), updated_at = now(), "
        "encoding = l.encoding, documents = l.documents, chunks = l.chunks, tokens = l.tokens, pipeline = l.pipeline "
        "FROM unnest(%s, %s::text[], %s::int[], %s::int[], %s::bigint[], %s::text[]) "
        "AS l (source_key, encoding, documents, chunks, tokens, pipeline) WHERE s.source_key = l.source_key",
        (
            UuidArray(source.source_key for source in sources),
            [source.encoding for source in sources],
            [source.documents for source in sources],
            [len(source.chunks) for source in sources],
            [sum(chunk.token_count for chunk in source.chunks) for source in sources],
            [source.pipeline for source in sources],
        ),
    )


def delete_sources(connection: Connection, arrival: str, source_keys: Sequence[uuid.UUID]) -> int:
    """Take files out of the table that an arrival found deleted and still owns; returns the rows deleted."""
    with connection.transaction():
        connection.execute(LOAD_OR_SWEEP.format(shared="_shared"))
        owned = [
            row[0]
            for row in connection.execute(
                "SELECT source_key FROM source_files WHERE source_key = ANY(%s) AND arrival = %s AND gone "
                "AND status = 'pending' ORDER BY source_key FOR UPDATE",
                (list(source_keys), arrival),
            )
        ]
        ids = [
            row[0] for row in connection.execute("SELECT uuid_send(id) FROM chunks WHERE source_key = ANY(%s)", (owned,))
        ]
        delete_rows(connection, ids)
        connection.execute(
            "UPDATE source_files SET status = 'deleted', gone = false, fingerprint = '', bytes_hash = NULL, "
            "documents = 0, chunks = 0, tokens = 0, error = NULL, updated_at = now() WHERE source_key = ANY(%s)",
            (owned,),
        )
        return len(ids)
