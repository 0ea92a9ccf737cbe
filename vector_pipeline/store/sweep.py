"""The sweep: remove vectors that no chunk refers to, after their grace period. It never runs during a load."""

from __future__ import annotations

from psycopg import sql

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.locks import Lock, lock_in_transaction
from vector_pipeline.store.space import count_vectors, list_spaces

SWEPT_AT_ONCE = 5_000

# If more than this share was removed, VACUUM runs at once: until then every search steps over the removed rows.
MANY = 0.05


def sweep(connection: Connection, grace_seconds: float) -> int:
    """Remove vectors that have been unreferenced for longer than the grace period; returns their number.

    For a vector that was never referenced, or was stored again since, the period begins when it was stored: its load may
    still come. The text of deleted files was already deleted with their rows. After many removals VACUUM runs at once;
    after few autovacuum is soon enough.
    """
    total = 0
    for space in list_spaces(connection):
        for table in (space.embeddings, space.landing):
            removed = 0
            statement = sql.SQL(
                "DELETE FROM {table} WHERE content_hash IN (SELECT e.content_hash FROM {table} e "
                "LEFT JOIN unreferenced_hashes u USING (content_hash) "
                "WHERE greatest(u.since, e.created_at) < pg_catalog.now() - %s::float8 * interval '1 second' "
                "AND NOT EXISTS (SELECT FROM chunks c WHERE c.content_hash = e.content_hash) LIMIT %s)"
            ).format(table=sql.Identifier(table))
            while True:
                with connection.transaction():
                    lock_in_transaction(connection, Lock.LOADS)
                    count = connection.execute(statement, (grace_seconds, SWEPT_AT_ONCE)).rowcount
                removed += count
                if count < SWEPT_AT_ONCE:
                    break
            total += removed
            if removed > MANY * count_vectors(connection, table):
                connection.execute(sql.SQL("VACUUM {}").format(sql.Identifier(table)))
    connection.execute(
        "DELETE FROM unreferenced_hashes WHERE since < pg_catalog.now() - %s::float8 * interval '1 second'",
        (grace_seconds + 86_400,),
    )
    return total


def orphans(connection: Connection) -> int:
    """The number of chunk rows whose file is not in the manifest, or is deleted there."""
    row = connection.execute(
        "SELECT pg_catalog.count(*) FROM chunks c WHERE NOT EXISTS (SELECT FROM source_files s WHERE "
        "s.source_key = c.source_key AND s.status <> 'deleted')"
    ).fetchone()
    return int(row[0]) if row else 0


def count_mismatches(connection: Connection) -> list[tuple[str, int, int]]:
    """Loaded files with another number of rows than the manifest says: (path, rows by manifest, rows in the table)."""
    rows = connection.execute(
        "SELECT s.path, s.chunks, pg_catalog.count(c.id) FROM source_files s LEFT JOIN chunks c USING (source_key) "
        "WHERE s.status = 'loaded' GROUP BY s.source_key HAVING s.chunks <> pg_catalog.count(c.id) "
        "ORDER BY s.path LIMIT 100"
    )
    return [(row[0], row[1], row[2]) for row in rows]
