"""The distinct texts of the table, as far as their tokens depend on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from vector_pipeline.store.connection import Connection

BEGINNING_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class DistinctText:
    """A text that is embedded once. `beginning` has its first characters, `token_count` the tokens of all of it."""

    content_hash: bytes
    source: str
    metadata: dict[str, Any]
    beginning: str
    token_count: int


def distinct_texts(connection: Connection) -> Iterator[DistinctText]:
    """Yield each distinct text once. It reads the whole table; memory does not grow with it."""
    with connection.transaction(), connection.cursor("distinct_texts", row_factory=class_row(DistinctText)) as cursor:
        cursor.itersize = 2_000
        cursor.execute(
            "SELECT DISTINCT ON (content_hash) pg_catalog.uuid_send(content_hash) AS content_hash, source, metadata, "
            "pg_catalog.left(page_content, %s) AS beginning, token_count FROM chunks ORDER BY content_hash",
            (BEGINNING_CHARACTERS,),
        )
        yield from cursor
