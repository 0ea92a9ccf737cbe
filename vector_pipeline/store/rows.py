"""Load the chunks of some files into the table in one transaction, and delete the rows of files.

A chunk that did not change keeps its row, its `id` and its `created_at` through every reload. An edit of one paragraph
writes one row and moves the places of the sections after it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store import vectors
from vector_pipeline.store.binary import COPY_HEAD, COPY_TAIL, UuidArray, chunk_row
from vector_pipeline.store.chunks import SourceRows
from vector_pipeline.store.columns import WRITTEN
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.counts import CHUNKS, add_rows
from vector_pipeline.store.fencing import owned_transaction, prove, select_owner
from vector_pipeline.store.lexical.landing import land_terms
from vector_pipeline.store.locks import Lock, lock_in_transaction
from vector_pipeline.store.sections import (
    SECTION_RULES,
    Changes,
    Placed,
    SectionRules,
    changes_of,
    sections_of,
    select_standing,
    standing_of,
    write_places,
)
from vector_pipeline.store.space import Space, select_spaces, space_in_state

ROWS_IN_BLOCK = 256

_COPY = sql.SQL("COPY chunks ({}) FROM STDIN (FORMAT BINARY)").format(
    sql.SQL(", ").join(sql.Identifier(column.name) for column in WRITTEN)
)


@dataclass(slots=True)
class LoadOutcome:
    """The result of a load.

    `rows` is the number of rows of the loaded files, and `written` the number of rows inserted, updated or deleted.
    `loaded` are paths. `skipped` maps the paths of other files to the reason, and `missing_vectors` to the hashes of
    their texts without a vector.
    """

    rows: int = 0
    written: int = 0
    loaded: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    missing_vectors: dict[str, set[bytes]] = field(default_factory=dict)


def load_sources(
    connection: Connection, arrival: str, batch: Sequence[SourceRows], *, rules: SectionRules = SECTION_RULES
) -> LoadOutcome:
    """Load the chunks of some files into the table, in one transaction.

    A file is loaded only if the arrival still owns it, it has not changed since it was read, and each of its texts has a
    vector in the active space. The outcome names the others, which stay as they are. Files are locked in the order of
    their keys, so two loads never deadlock.
    """
    outcome = LoadOutcome()
    with connection.transaction():
        # Pipeline mode: the statements are sent without waiting for each. Waiting would be most of a small edit's time.
        with connection.pipeline():
            lock_in_transaction(connection, Lock.LOADS, shared=True)
            owner = select_owner(connection)
            complete, changes = _compared(connection, arrival, batch, outcome, rules)
            prove(connection, owner)
            if complete:
                delete_rows(connection, changes.gone)
                write_places(connection, changes)
                _mark_loaded(connection, arrival, complete)
        if changes.fresh:
            _copy(connection, changes.fresh)
            add_rows(connection, CHUNKS, len(changes.fresh))
            chunks = (placed.chunk for placed in changes.fresh)
            land_terms(connection, {chunk.content_hash: chunk.context + chunk.page_content for chunk in chunks})
    outcome.written = len(changes.gone) + len(changes.moved) + len(changes.fresh)
    outcome.loaded = [source.path for source in complete]
    outcome.rows = sum(len(source.chunks) for source in complete)
    return outcome


def _compared(
    connection: Connection, arrival: str, batch: Sequence[SourceRows], outcome: LoadOutcome, rules: SectionRules
) -> tuple[list[SourceRows], Changes]:
    """Lock the files; returns those that can be loaded, and what has to be written for them."""
    locked = _lock(connection, batch)
    spaces = select_spaces(connection)
    owned, with_rows = _owned(arrival, batch, locked, outcome)
    missing = _select_missing(connection, space_in_state(spaces, "active"), owned)
    standing = select_standing(connection, with_rows) if with_rows else ()
    # The server runs the last two statements while this process builds the sections.
    sections = {source.source_key: sections_of(source, rules) for source in owned}
    complete = _with_vectors(owned, {row[0] for row in missing}, outcome)
    reloaded = with_rows & {source.source_key for source in complete}
    return complete, changes_of(
        connection,
        [section for source in complete for section in sections[source.source_key]],
        reloaded,
        [section for section in standing_of(standing) if section.source_key in reloaded],
    )


def _lock(connection: Connection, batch: Sequence[SourceRows]) -> psycopg.Cursor[Any]:
    return connection.execute(
        "SELECT pg_catalog.uuid_send(source_key), arrival, fingerprint, gone OR status = 'deleted', "
        "EXISTS (SELECT FROM chunks c WHERE c.source_key = s.source_key) OR "
        "EXISTS (SELECT FROM chunk_sections c WHERE c.source_key = s.source_key) "
        "FROM source_files s WHERE source_key = ANY(%s) ORDER BY source_key FOR UPDATE",
        (UuidArray(source.source_key for source in batch),),
    )


def _owned(
    arrival: str, batch: Sequence[SourceRows], locked: Iterable[tuple[Any, ...]], outcome: LoadOutcome
) -> tuple[list[SourceRows], set[bytes]]:
    """The files to load, and the keys of those among them that already have rows."""
    now = {row[0]: row[1:] for row in locked}
    owned = []
    with_rows = set()
    for source in batch:
        owner, fingerprint, gone, has_rows = now.get(source.source_key, (None, "", True, False))
        if gone or owner != arrival:
            outcome.skipped[source.path] = "belongs to a later arrival"
        elif fingerprint != source.fingerprint:
            outcome.skipped[source.path] = "changed since it was read"
        else:
            owned.append(source)
            if has_rows:
                with_rows.add(source.source_key)
    return owned, with_rows


def _select_missing(
    connection: Connection, space: Space | None, sources: Sequence[SourceRows]
) -> Iterable[tuple[bytes]]:
    hashes = {chunk.content_hash for source in sources for chunk in source.chunks}
    if not hashes:
        return ()  # no file has any text; there may be no space yet
    if space is None:
        raise DatabaseError("there is no space yet, because no text was ever embedded; run the stages before this one")
    return vectors.select_missing(connection, space, hashes)


def _with_vectors(sources: Sequence[SourceRows], missing: set[bytes], outcome: LoadOutcome) -> list[SourceRows]:
    complete = []
    for source in sources:
        lacking = {chunk.content_hash for chunk in source.chunks} & missing if missing else set()
        if lacking:
            outcome.missing_vectors[source.path] = lacking
        else:
            complete.append(source)
    return complete


def _copy(connection: Connection, fresh: Sequence[Placed]) -> None:
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.write(COPY_HEAD)
        # The server reads one block while this process prepares the next.
        for start in range(0, len(fresh), ROWS_IN_BLOCK):
            copy.write(b"".join(map(_binary, fresh[start : start + ROWS_IN_BLOCK])))
        copy.write(COPY_TAIL)


def _binary(placed: Placed) -> bytes:
    key, chunk, section = placed
    return chunk_row(
        key,
        section.source.source_key,
        section.source.path.encode(),
        chunk.document_id.encode(),
        placed.position,
        chunk.page_content.encode(),
        chunk.metadata.encode(),
        chunk.token_count,
        chunk.content_hash,
        section.key or None,
    )


def delete_rows(connection: Connection, ids: Sequence[bytes]) -> None:
    """Delete chunks, and store the hashes that no chunk refers to any more for the sweep."""
    if ids:
        connection.execute(
            "WITH gone AS (DELETE FROM chunks WHERE id = ANY(%s) RETURNING id, content_hash) "
            "INSERT INTO unreferenced_hashes (content_hash) SELECT DISTINCT content_hash FROM gone g WHERE NOT EXISTS "
            "(SELECT FROM chunks c WHERE c.content_hash = g.content_hash AND c.id <> ALL(%s)) "
            "ORDER BY 1 ON CONFLICT (content_hash) DO UPDATE SET since = pg_catalog.now(), swept = false",
            (UuidArray(ids), UuidArray(ids)),
        )


def _mark_loaded(connection: Connection, arrival: str, sources: Sequence[SourceRows]) -> None:
    connection.execute(
        "UPDATE source_files s SET status = 'loaded', error = NULL, loaded_at = pg_catalog.now(), "
        "updated_at = pg_catalog.now(), "
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
    """Delete the rows of files that an arrival found deleted and still owns; returns their number.

    Raises TakenOver like `load_sources`.
    """
    with owned_transaction(connection):
        lock_in_transaction(connection, Lock.LOADS, shared=True)
        owned = [
            row[0]
            for row in connection.execute(
                "SELECT source_key FROM source_files WHERE source_key = ANY(%s) AND arrival = %s AND gone "
                "AND status = 'pending' ORDER BY source_key FOR UPDATE",
                (list(source_keys), arrival),
            )
        ]
        ids = [
            row[0]
            for row in connection.execute(
                "SELECT pg_catalog.uuid_send(id) FROM chunks WHERE source_key = ANY(%s)", (owned,)
            )
        ]
        delete_rows(connection, ids)
        connection.execute("DELETE FROM chunk_sections WHERE source_key = ANY(%s)", (owned,))
        connection.execute(
            "UPDATE source_files SET status = 'deleted', gone = false, fingerprint = '', bytes_hash = NULL, "
            "documents = 0, chunks = 0, tokens = 0, error = NULL, updated_at = pg_catalog.now() "
            "WHERE source_key = ANY(%s)",
            (owned,),
        )
        return len(ids)
