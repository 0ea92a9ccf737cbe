"""Texts that the API refuses, so that they are not sent again and their files are rejected with the reason."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from vector_pipeline.store.connection import Connection

# After this a refused text is tried again: the refusal may have been the provider's passing fault.
KEPT = "1 day"


def find_rejections(connection: Connection, spaces: Sequence[str] | None, hashes: Sequence[bytes]) -> dict[bytes, str]:
    """Why each of the hashes was refused, for those that were, in one of some spaces or in any.

    What a model refused before its first answer made a space is noted under the model's name.
    """
    rows = connection.execute(
        "SELECT content_hash, reason FROM rejected_texts WHERE (space = ANY(%(spaces)s) OR %(spaces)s::text[] IS NULL) "
        "AND content_hash = ANY(%(hashes)s) AND rejected_at > now() - %(kept)s::interval",
        {
            "spaces": None if spaces is None else list(spaces),
            "hashes": [uuid.UUID(bytes=h) for h in hashes],
            "kept": KEPT,
        },
    )
    return {row[0].bytes: row[1] for row in rows}


def store_rejections(connection: Connection, space: str, refused: Mapping[bytes, str]) -> None:
    """Note texts as refused."""
    keys = sorted(refused)
    connection.execute(
        "INSERT INTO rejected_texts (space, content_hash, reason) SELECT %s, r.hash, r.reason FROM "
        "unnest(%s::uuid[], %s::text[]) AS r (hash, reason) ON CONFLICT (space, content_hash) DO UPDATE SET "
        "reason = excluded.reason, rejected_at = now()",
        (space, [uuid.UUID(bytes=key) for key in keys], [refused[key] for key in keys]),
    )
