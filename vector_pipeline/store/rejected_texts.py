"""Texts that the API refused. They are not sent again, and their files are rejected with the reason."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from vector_pipeline.store.connection import Connection

# After this time a refused text is tried again: the refusal may have been a temporary fault of the provider.
KEPT = "1 day"


def find_rejections(connection: Connection, spaces: Sequence[str] | None, hashes: Sequence[bytes]) -> dict[bytes, str]:
    """The reasons of those hashes that were refused in one of `spaces`, or in any space if it is None.

    A text that a model refused before its first answer (and so before it had a space) stands under the model's name.
    """
    rows = connection.execute(
        "SELECT content_hash, reason FROM rejected_texts WHERE (space = ANY(%(spaces)s) OR %(spaces)s::text[] IS NULL) "
        "AND content_hash = ANY(%(hashes)s) AND rejected_at BETWEEN pg_catalog.now() - %(kept)s::interval AND "
        # Later only if the server's clock was set back.
        "pg_catalog.now() + %(kept)s::interval",
        {
            "spaces": None if spaces is None else list(spaces),
            "hashes": [uuid.UUID(bytes=h) for h in hashes],
            "kept": KEPT,
        },
    )
    return {row[0].bytes: row[1] for row in rows}


def store_rejections(connection: Connection, space: str, refused: Mapping[bytes, str]) -> None:
    """Store texts as refused, each with its reason."""
    keys = sorted(refused)
    connection.execute(
        "INSERT INTO rejected_texts (space, content_hash, reason) SELECT %s, r.hash, r.reason FROM "
        "unnest(%s::uuid[], %s::text[]) AS r (hash, reason) ON CONFLICT (space, content_hash) DO UPDATE SET "
        "reason = excluded.reason, rejected_at = pg_catalog.now()",
        (space, [uuid.UUID(bytes=key) for key in keys], [refused[key] for key in keys]),
    )
