"""The columns of a chunk: one list, from which the COPY of a load, the view and the schema in the UI are made.

A new column of the view takes a line here, and a migration where `placed_chunks` has to bring it along; `migrate` makes
the view anew from this list.
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
    """What the view selects for it, of `placed_chunks c` and the vectors `e`; empty where the view does not have it."""
    written: bool = True
    """Whether a load writes it; the others are Postgres's to fill in, or the vector's."""


COLUMNS = (
    Column("id", "uuid", "stays through reloads: root, source, document, content hash and occurrence", "c.id"),
    Column("source_key", "uuid", "stands for the file: root and path"),
    Column("source", "text", "path of the file under its root", "c.source"),
    Column("document_id", "text", "the path, with #record where a file holds many", "c.document_id"),
    Column("chunk_index", "integer", "its place in the document, from 0", "c.chunk_index"),
    Column("start_char", "integer", "where it begins in the document's text, in characters", "c.start_char"),
    Column("end_char", "integer", "where it ends", "c.end_char"),
    Column("page_content", "text", "the chunk's text", "c.page_content"),
    Column("metadata", "jsonb", "the document's metadata, and the headings above the chunk", "c.metadata"),
    Column("token_count", "integer", "its exact number of tokens", "c.token_count"),
    Column("content_hash", "uuid", "BLAKE2b-128 of its text; the key of its vector", "c.content_hash"),
    Column("section", "uuid", "the part of a long document that its places count from"),
    Column("embedding", "vector", "from the active space, in the view document_chunks", "e.embedding", written=False),
    Column("created_at", "timestamptz", "when the chunk first appeared", "c.created_at", written=False),
    Column("updated_at", "timestamptz", "when its row last changed", "c.updated_at", written=False),
    Column("root", "text", "the folder or URL that the file was found under", "c.root", written=False),
)

WRITTEN = tuple(column for column in COLUMNS if column.written)
"""Columns of the table `chunks` that a load writes, in the order of its COPY."""

SHOWN = tuple(column for column in COLUMNS if column.shown)
"""Columns of the view `document_chunks`."""
