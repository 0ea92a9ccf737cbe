"""The sweep: remove vectors that no chunk refers to, after their grace period. It never runs during a load.

The candidates are the hashes that were recorded when their last chunk was deleted, and landed vectors that never had a
chunk. So a sweep reads only what changed, never all vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.counts import add_rows
from vector_pipeline.store.locks import Lock, lock_in_transaction
from vector_pipeline.store.recall import forget_vectors
from vector_pipeline.store.space import Space, count_vectors, list_spaces

SWEPT_AT_ONCE = 5_000

# VACUUM runs at once if more than this share was removed: until it runs, every search steps over the removed rows.
MANY = 0.05

# Swept hashes stay recorded for this many seconds: the lexical index drops such texts at its next merge of segments.
NOTED_SECONDS = 86_400.0


def sweep(connection: Connection, grace_seconds: float) -> int:
    """Remove vectors that have been unreferenced for longer than the grace period; returns their number.

    For a vector that was never referenced, or was stored again since, the period begins when it was stored: its load may
    still follow. The text of deleted files was deleted with their rows. After many removals VACUUM runs at once; after
    few removals autovacuum is soon enough.
    """
    spaces = list_spaces(connection)
    removed: dict[str, int] = {}
    for space in spaces:
        _note_landed(connection, space, grace_seconds)
    while hashes := _unswept(connection, grace_seconds):
        with connection.transaction():
            lock_in_transaction(connection, Lock.LOADS)
            _Sweep(connection, hashes, grace_seconds, removed).run(spaces)
    for table, count in removed.items():
        if count > MANY * (count_vectors(connection, table) + count):
            connection.execute(sql.SQL("VACUUM {}").format(sql.Identifier(table)))
    connection.execute(
        "DELETE FROM unreferenced_hashes WHERE swept AND since < pg_catalog.now() - %s::float8 * interval '1 second'",
        (grace_seconds + NOTED_SECONDS,),
    )
    return sum(removed.values())


def note_unreferenced(connection: Connection, vectors: sql.Composable, *parameters: object) -> None:
    """Record the hashes of the given vectors that no chunk refers to.

    `vectors` is a table or a SELECT in parentheses, with its parameters, of `content_hash` and `created_at`.
    """
    connection.execute(
        sql.SQL(
            "INSERT INTO unreferenced_hashes (content_hash, since) SELECT content_hash, created_at FROM {} v "
            "WHERE NOT EXISTS (SELECT FROM chunks c WHERE c.content_hash = v.content_hash) "
            "ORDER BY 1 ON CONFLICT (content_hash) DO UPDATE SET since = excluded.since, swept = false "
            "WHERE unreferenced_hashes.swept"
        ).format(vectors),
        parameters,
    )


def _note_landed(connection: Connection, space: Space, grace_seconds: float) -> None:
    old = sql.SQL("(SELECT * FROM {} WHERE created_at < pg_catalog.now() - %s::float8 * interval '1 second')").format(
        sql.Identifier(space.landing)
    )
    note_unreferenced(connection, old, grace_seconds)


def _unswept(connection: Connection, grace_seconds: float) -> list[Any]:
    rows = connection.execute(
        "SELECT content_hash FROM unreferenced_hashes WHERE NOT swept AND "
        "since < pg_catalog.now() - %s::float8 * interval '1 second' "
        "ORDER BY since LIMIT %s",
        (grace_seconds, SWEPT_AT_ONCE),
    )
    return [row[0] for row in rows]


@dataclass(slots=True)
class _Sweep:
    """Recorded hashes, in a transaction during which no load runs."""

    connection: Connection
    hashes: Sequence[Any]
    grace_seconds: float
    removed: dict[str, int]

    def run(self, spaces: Sequence[Space]) -> None:
        self.connection.execute(
            "DELETE FROM unreferenced_hashes u WHERE content_hash = ANY(%s) AND "
            "EXISTS (SELECT FROM chunks c WHERE c.content_hash = u.content_hash)",
            (self.hashes,),
        )
        # Another process may have recorded or swept some of them since: those are left to it.
        self.hashes = _still(self.connection, self.hashes, self.grace_seconds)
        self.connection.execute(
            "UPDATE unreferenced_hashes SET swept = true WHERE content_hash = ANY(%s)", (self.hashes,)
        )
        for space in spaces:
            for table in (space.embeddings, space.landing):
                self._remove(space, table)

    def _remove(self, space: Space, table: str) -> None:
        name = sql.Identifier(table)
        statement = sql.SQL(
            "DELETE FROM {} WHERE content_hash = ANY(%s) AND "
            "created_at < pg_catalog.now() - %s::float8 * interval '1 second' "
            "RETURNING content_hash"
        ).format(name)
        gone = [row[0] for row in self.connection.execute(statement, (self.hashes, self.grace_seconds))]
        if gone:
            add_rows(self.connection, table, -len(gone))
            forget_vectors(self.connection, space, gone)
            self.removed[table] = self.removed.get(table, 0) + len(gone)
        # Stored again after its last chunk was deleted: the period begins at that time.
        self.connection.execute(
            sql.SQL(
                "UPDATE unreferenced_hashes u SET swept = false, since = greatest(u.since, v.created_at) FROM {} v "
                "WHERE v.content_hash = u.content_hash AND u.content_hash = ANY(%s)"
            ).format(name),
            (self.hashes,),
        )


def _still(connection: Connection, hashes: Sequence[Any], grace_seconds: float) -> list[Any]:
    rows = connection.execute(
        "SELECT content_hash FROM unreferenced_hashes WHERE content_hash = ANY(%s) AND NOT swept "
        "AND since < pg_catalog.now() - %s::float8 * interval '1 second'",
        (hashes, grace_seconds),
    )
    return [row[0] for row in rows]
