"""The columns of a chunk: one list for the COPY of a load, the view, and the schema in the UI.

A new column of the view takes a line here, its table in BENEATH where it comes from one that is not there yet,
and a migration, however small: `migrate` makes the view anew from this list whenever one was applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a chunk, with its type in Postgres."""

    name: LiteralString
    type: str
    description: str
    shown: LiteralString = ""
    """What the view selects for it, of the tables in BENEATH and the vectors `e`; empty where the view lacks it."""
    written: bool = True
    """Whether a load writes it; the others are Postgres's to fill in, or the vector's."""


# A section's place is added to the places of its chunks (sections.py).
_INDEX: LiteralString = "c.chunk_index + coalesce(s.chunk_index, 0)"
_START: LiteralString = "c.start_char + coalesce(s.start_char, 0)"
_END: LiteralString = "c.end_char + coalesce(s.start_char, 0)"
# Looked up where it is asked for, and not joined.
_ROOT: LiteralString = "(SELECT f.root FROM source_files f WHERE f.source_key = c.source_key)"
_UPDATED: LiteralString = "greatest(c.updated_at, s.updated_at)"

COLUMNS = (
    Column("id", "uuid", "kept by reloads: a hash of root, source, document, text and occurrence", "c.id"),
    Column("source_key", "uuid", "identifies the file: a hash of root and path"),
    Column("source", "text", "path of the file under its root", "c.source"),
    Column("document_id", "text", "the path, with #record where a file holds many", "c.document_id"),
    Column("chunk_index", "integer", "its place in the document, from 0", _INDEX),
    Column("start_char", "integer", "where it begins in the document's text, in characters", _START),
    Column("end_char", "integer", "where it ends", _END),
    Column("page_content", "text", "the chunk's text", "c.page_content"),
    Column("metadata", "jsonb", "the document's metadata, and the headings above the chunk", "c.metadata"),
    Column("token_count", "integer", "its exact number of tokens", "c.token_count"),
    Column("content_hash", "uuid", "BLAKE2b-128 of its text; the key of its vector", "c.content_hash"),
    Column("section", "uuid", "the part of a long document that its places count from"),
    Column("embedding", "vector", "from the active space, in the index's type", "e.embedding", written=False),
    Column("created_at", "timestamptz", "when the chunk first appeared", "c.created_at", written=False),
    Column("updated_at", "timestamptz", "when its row last changed", _UPDATED, written=False),
    Column("root", "text", "the folder or URL that the file was found under", _ROOT, written=False),
)

WRITTEN = tuple(column for column in COLUMNS if column.written)
"""Columns of the table `chunks` that a load writes, in the order of its COPY."""

SHOWN = tuple(column for column in COLUMNS if column.shown)
"""Columns of the view `document_chunks`."""

BENEATH: dict[str, tuple[str, ...]] = {
    "chunks": (),
    "chunk_sections": (),
    "source_files": ("source_key", "root"),
}
"""Tables that the view reads besides the vectors of its space, and the columns of those that it does not read whole."""

JOINED: LiteralString = "JOIN chunks c USING (content_hash) LEFT JOIN chunk_sections s USING (section)"
"""How they follow the vectors `e`."""
