"""Documents as they were loaded: their text, joined from chunks, and the chunks around a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.manifest import known_roots, source_key, states_of
from vector_pipeline.store.search.results import PlacedChunk, joined


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """A loaded document. `characters` is the end of its last chunk."""

    source_key: bytes
    root: str
    source: str
    document_id: str
    chunks: int
    characters: int


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A part of a document's text. Offsets count characters of the document's text."""

    root: str
    source: str
    document_id: str
    chunks: int
    """The number of chunks of the whole document."""
    characters: int
    """The length of the whole document."""
    start: int
    text: str
    next_start: int | None
    """Where the rest begins; None if there is none."""


def find_documents(connection: Connection, document_id: str, root: str | None = None) -> list[LoadedDocument]:
    """The documents with an id, one for each root that has one, in the order of the roots.

    An id that no file spells so finds one that looks the same, as Korean names of macOS (NFD) do.
    """
    # Postgres stores neither NUL nor characters that UTF-8 cannot encode.
    if "\0" in document_id or any("\ud800" <= character <= "\udfff" for character in document_id):
        return []
    roots = [root] if root is not None else known_roots(connection)
    paths = _possible_paths(document_id)
    keys = [source_key(name, path) for name in roots for path in paths]
    found = _loaded(connection, keys, [document_id] * len(keys))
    if found:
        return found
    alike = [(state, document_id[len(path) :]) for path in paths for state in states_of(connection, path)]
    alike = [(state, record) for state, record in alike if state.root in roots]
    return _loaded(
        connection,
        [source_key(state.root, state.path) for state, _ in alike],
        [state.path + record for state, record in alike],
    )


def _possible_paths(document_id: str) -> list[str]:
    """The paths that an id may begin with: `path`, or `path#record`, where both may contain more `#`."""
    marks = [place for place, character in enumerate(document_id) if character == "#"]
    return [document_id, *(document_id[:mark] for mark in reversed(marks))]


def _loaded(connection: Connection, keys: Sequence[object], document_ids: Sequence[str]) -> list[LoadedDocument]:
    rows = connection.execute(
        "SELECT c.source_key, f.root, c.source, c.document_id, pg_catalog.count(*), pg_catalog.max(c.end_char) "
        "FROM unnest(%s::uuid[], %s::text[]) AS u (source_key, document_id) "
        "JOIN placed_chunks c USING (source_key, document_id) JOIN source_files f USING (source_key) "
        "GROUP BY 1, 2, 3, 4 ORDER BY f.root, c.document_id",
        (list(keys), list(document_ids)),
    )
    return [LoadedDocument(*row) for row in rows]


def read_text(connection: Connection, document: LoadedDocument, start: int, characters: int | None) -> DocumentText:
    """The text of a document from a place on: `characters` of it, or all if that is None.

    No chunk holds the white space between chunks; it becomes the same number of characters.
    """
    end = document.characters if characters is None else start + characters
    rows = connection.execute(
        "SELECT start_char, page_content FROM placed_chunks WHERE source_key = %s AND document_id = %s "
        "AND end_char > %s AND start_char < %s ORDER BY chunk_index",
        (document.source_key, document.document_id, start, end),
    ).fetchall()
    first = rows[0][0] if rows else start
    text = joined(rows)[max(0, start - first) : max(0, end - first)]
    return DocumentText(
        root=document.root,
        source=document.source,
        document_id=document.document_id,
        chunks=document.chunks,
        characters=document.characters,
        start=max(start, first),
        text=text,
        next_start=end if end < document.characters else None,
    )


def chunks_between(connection: Connection, document: LoadedDocument, first: int, last: int) -> list[PlacedChunk]:
    """The chunks of a document from one index to another, both included, in order."""
    rows = connection.execute(
        "SELECT chunk_index, start_char, end_char, page_content, metadata FROM placed_chunks "
        "WHERE source_key = %s AND document_id = %s AND chunk_index BETWEEN %s AND %s ORDER BY chunk_index",
        (document.source_key, document.document_id, first, last),
    )
    return [PlacedChunk(document.root, document.source, document.document_id, *row) for row in rows]
