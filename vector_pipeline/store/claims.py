"""Claims: a run claims texts in Postgres before it sends them, so no two runs pay for the same text.

A claim names the key of an advisory lock that the session of its owner holds. It is valid while that session lives.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Self

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.locks import CLAIM_CLASS, lock_claim_owner

# A claim expires after this time plus twice the time for which transient failures are retried (once for the request,
# once to store its answer), even if its owner still lives.
EXPIRY_SECONDS = 3_600.0


class Claims:
    """The claims of one run in one space, on a connection of their own. Use as a context manager; threads may share it.

    Where Postgres was away they are made valid again on a new connection: what is being sent stays this run's.
    """

    def __init__(
        self,
        database: Database,
        space: str,
        *,
        retry_seconds: float = 0.0,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._expiry = EXPIRY_SECONDS + 2 * retry_seconds
        self._space = space
        self._owner = 0
        self._held: set[bytes] = set()
        self._mutex = threading.Lock()
        self._kept = Kept(database, "claims", prepare=self._take_up, log=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def claim(self, hashes: Iterable[bytes]) -> set[bytes]:
        """Claim texts that no other run has claimed; returns the hashes that are claimed by this run."""
        keys = sorted(uuid.UUID(bytes=h) for h in hashes)
        if not keys:
            return set()
        with self._mutex:
            mine = self._kept.run(lambda connection: self._claim(connection, keys))
            self._held |= mine
        return mine

    def release(self, hashes: Iterable[bytes]) -> None:
        """Give claims back."""
        given = set(hashes)
        if not given:
            return
        keys = sorted(uuid.UUID(bytes=h) for h in given)
        with self._mutex:
            self._held -= given
            self._kept.run(
                lambda connection: connection.execute(
                    "DELETE FROM embedding_claims WHERE space = %s AND content_hash = ANY(%s) AND owner = %s",
                    (self._space, keys, self._owner),
                )
            )

    def _claim(self, connection: Connection, keys: list[uuid.UUID]) -> set[bytes]:
        connection.execute(
            "DELETE FROM embedding_claims c WHERE c.space = %(space)s AND c.content_hash = ANY(%(keys)s) AND "
            "c.owner <> %(owner)s AND (c.claimed_at < pg_catalog.now() - %(expiry)s::float8 * interval '1 second' "
            "OR NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 2 "
            "AND l.classid = %(class)s::oid AND l.objid = c.owner::oid))",
            {"space": self._space, "keys": keys, "owner": self._owner, "expiry": self._expiry, "class": CLAIM_CLASS},
        )
        # Includes our own: an earlier attempt may have claimed them and lost the connection before the answer.
        rows = connection.execute(
            "INSERT INTO embedding_claims AS c (space, content_hash, owner) "
            "SELECT %s, h, %s FROM pg_catalog.unnest(%s::uuid[]) AS h "
            "ON CONFLICT (space, content_hash) DO UPDATE SET claimed_at = "
            "pg_catalog.now() WHERE c.owner = excluded.owner "
            "RETURNING content_hash",
            (self._space, self._owner, keys),
        )
        return {row[0].bytes for row in rows}

    def _take_up(self, connection: Connection) -> None:
        """Hold the lock of an owner on a new connection, and with it what this run had claimed on the last one."""
        owner = random.getrandbits(31)
        lock_claim_owner(connection, owner)
        if self._held:
            keys = sorted(uuid.UUID(bytes=h) for h in self._held)
            with connection.transaction():
                connection.execute(
                    "UPDATE embedding_claims SET owner = %s, claimed_at = "
                    "pg_catalog.now() WHERE space = %s AND owner = %s",
                    (owner, self._space, self._owner),
                )
                # The table is not logged: a crash of the server empties it.
                connection.execute(
                    "INSERT INTO embedding_claims (space, content_hash, owner) SELECT %s, h, %s "
                    "FROM pg_catalog.unnest(%s::uuid[]) AS h ON CONFLICT DO NOTHING",
                    (self._space, owner, keys),
                )
        self._owner = owner
