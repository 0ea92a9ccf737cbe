"""Claims: a run claims texts in Postgres before it sends them, so no two runs pay for the same text.

A claim names the key of an advisory lock that the session of its owner holds. It is valid while that session lives.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.locks import CLAIM_CLASS, lock_claim_owner

# A claim expires after this time plus twice the time for which transient failures are retried (once for the request,
# once to store its answer), even if its owner still lives.
EXPIRY_SECONDS = 3_600.0


class Claims:
    """The claims of one run in one space. They have a connection of their own and end with it."""

    def __init__(self, connection: Connection, space: str, *, retry_seconds: float = 0.0) -> None:
        self._expiry = EXPIRY_SECONDS + 2 * retry_seconds
        self._connection = connection
        self._space = space
        self._owner = random.getrandbits(31)
        lock_claim_owner(connection, self._owner)

    def claim(self, hashes: Iterable[bytes]) -> set[bytes]:
        """Claim texts that no other run has claimed; returns the hashes that were claimed."""
        keys = sorted(uuid.UUID(bytes=h) for h in hashes)
        if not keys:
            return set()
        self._connection.execute(
            "DELETE FROM embedding_claims c WHERE c.space = %(space)s AND c.content_hash = ANY(%(keys)s) AND "
            "c.owner <> %(owner)s AND (c.claimed_at < now() - make_interval(secs => %(expiry)s) OR NOT EXISTS ("
            "SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = %(class)s AND "
            "l.objid = c.owner))",
            {"space": self._space, "keys": keys, "owner": self._owner, "expiry": self._expiry, "class": CLAIM_CLASS},
        )
        rows = self._connection.execute(
            "INSERT INTO embedding_claims (space, content_hash, owner) SELECT %s, h, %s FROM unnest(%s::uuid[]) AS h "
            "ON CONFLICT DO NOTHING RETURNING content_hash",
            (self._space, self._owner, keys),
        )
        return {row[0].bytes for row in rows}

    def release(self, hashes: Iterable[bytes]) -> None:
        """Release claims."""
        keys = sorted(uuid.UUID(bytes=h) for h in hashes)
        if keys:
            self._connection.execute(
                "DELETE FROM embedding_claims WHERE space = %s AND content_hash = ANY(%s) AND owner = %s",
                (self._space, keys, self._owner),
            )
