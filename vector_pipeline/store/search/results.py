"""The texts that a search found, with their places and the text around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg import sql

from vector_pipeline.store.binary import UuidArray
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.search.filters import Filter

# The most copies of a text that are named with a result.
MAX_COPIES = 20


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """A chunk with its place in its document. Offsets count characters of the document's text."""

    root: str
    source: str
    document_id: str
    chunk_index: int
    start_char: int
    end_char: int
    page_content: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SearchResult(PlacedChunk):
    """A chunk that a search found."""

    score: float
    """Higher is better. Scores are comparable within one search."""
    distance: float | None = None
    """The cosine distance to the question; None if it was not measured."""
    also_in: list[str] = field(default_factory=list)
    """The paths of other places of the same text that are not listed."""
    context: str | None = None
    """Its text with the text around it, if that was requested."""


@dataclass(frozen=True, slots=True)
class Found:
    """A text that a search found."""

    content_hash: bytes
    score: float
    distance: float | None = None


@dataclass(frozen=True, slots=True)
class StandingChunk:
    """A chunk with its place in its document."""

    document_id: str
    chunk_index: int
    start_char: int
    text: str


def chunks_of_source(connection: Connection, source: str) -> list[StandingChunk]:
    """The chunks of the files with a path, in the order of the text."""
    rows = connection.execute(
        "SELECT document_id, chunk_index, start_char, page_content FROM placed_chunks WHERE source_key IN "
        "(SELECT source_key FROM source_files WHERE path = %s) ORDER BY source_key, document_id, chunk_index",
        (source,),
    )
    return [StandingChunk(*row) for row in rows]


_PLACES = """
    SELECT u.place, c.copy, c.source_key, coalesce(f.root, ''), c.source, c.document_id, c.chunk_index,
           c.start_char, c.end_char, c.page_content, c.metadata
    FROM pg_catalog.unnest(%(hashes)s) WITH ORDINALITY AS u (content_hash, place)
    CROSS JOIN LATERAL (
        SELECT *, pg_catalog.row_number() OVER (ORDER BY c.source, c.document_id, c.chunk_index) AS copy
        FROM placed_chunks c WHERE c.content_hash = u.content_hash {condition}
        ORDER BY c.source, c.document_id, c.chunk_index LIMIT {copies}
    ) c
    LEFT JOIN source_files f USING (source_key)
    ORDER BY u.place, c.copy
"""


def results_of(
    connection: Connection, found: Sequence[Found], k: int, limits: Filter, context: int = 0
) -> list[SearchResult]:
    """One result per text, in the given order. Other places of a text are added only if there is room."""
    if not found:
        return []
    query = sql.SQL(_PLACES).format(condition=limits.condition, copies=sql.Literal(MAX_COPIES))
    rows = connection.execute(
        query,
        {"hashes": UuidArray(text.content_hash for text in found), **limits.values},
        prepare=limits.prepare,
    ).fetchall()
    room = k - len({row[0] for row in rows})
    results: list[SearchResult] = []
    keys = []
    for place, copy, source_key, root, source, document_id, index, start, end, content, metadata in rows:
        text = found[place - 1]
        result = SearchResult(root, source, document_id, index, start, end, content, metadata, text.score, text.distance)
        if copy == 1 or room > 0:
            room -= copy != 1
            results.append(result)
            keys.append(source_key)
        else:
            results[-1].also_in.append(result.source)
    return _with_context(connection, results, keys, context) if context else results


def _with_context(
    connection: Connection, results: Sequence[SearchResult], keys: Sequence[object], context: int
) -> list[SearchResult]:
    rows = connection.execute(
        "SELECT u.place, c.start_char, c.page_content "
        "FROM unnest(%s::uuid[], %s::text[], %s::int[]) WITH ORDINALITY "
        "AS u (source_key, document_id, chunk_index, place) JOIN placed_chunks c USING (source_key, document_id) "
        "WHERE c.chunk_index BETWEEN u.chunk_index - %s AND u.chunk_index + %s ORDER BY u.place, c.chunk_index",
        (list(keys), [r.document_id for r in results], [r.chunk_index for r in results], context, context),
    )
    around: Mapping[int, list[tuple[int, str]]] = {place: [] for place in range(len(results))}
    for place, start, text in rows:
        around[place - 1].append((start, text))
    return [replace(result, context=joined(around[place])) for place, result in enumerate(results)]


def joined(chunks: Sequence[tuple[int, str]]) -> str:
    """Join consecutive chunks, given with their offsets, without the parts that they repeat.

    No chunk holds the white space between chunks: it becomes the same number of characters, a space or line breaks.
    """
    text = ""
    end = chunks[0][0] if chunks else 0
    for start, content in chunks:
        gap = start - end
        if gap > 0:
            text += " " if gap == 1 else "\n" * gap
        text += content[max(0, -gap) :]
        end = max(end, start + len(content))
    return text
