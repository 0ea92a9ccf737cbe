"""The time of the API's last answer to an account. After it, arrivals that failed because of the account are retried."""

from __future__ import annotations

from datetime import datetime

from psycopg import sql

from vector_pipeline.store.connection import SHARED_SCHEMA, Connection

_TABLE = sql.Identifier(SHARED_SCHEMA, "answers")

# A bulk load has many answers a second. The row is written at most this often.
EVERY_SECONDS = 5.0


def note_answer(connection: Connection, bucket: str) -> None:
    """Record that the API has just answered an account, unless that was recorded within EVERY_SECONDS.

    The row is shared by all runs: call it outside of transactions.
    """
    connection.execute(
        sql.SQL(
            "INSERT INTO {} AS a (bucket, answered_at) VALUES (%s, pg_catalog.clock_timestamp()) ON "
            "CONFLICT (bucket) DO UPDATE "
            "SET answered_at = excluded.answered_at "
            "WHERE a.answered_at < excluded.answered_at - %s::float8 * interval '1 second'"
        ).format(_TABLE),
        (bucket, EVERY_SECONDS),
    )


def last_answer(connection: Connection, bucket: str) -> datetime | None:
    """The time of the API's last answer to an account; None if there was none."""
    query = sql.SQL("SELECT answered_at FROM {} WHERE bucket = %s").format(_TABLE)
    row = connection.execute(query, (bucket,)).fetchone()
    return row[0] if row else None
