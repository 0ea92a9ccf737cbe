"""The money that all pipelines of a database spent, by day (UTC)."""

from __future__ import annotations

from psycopg import sql

from vector_pipeline.errors import DatabaseUnavailable
from vector_pipeline.store.connection import SHARED_SCHEMA, Connection

_TABLE = sql.Identifier(SHARED_SCHEMA, "spending")


def spent_today(connection: Connection) -> float:
    """USD spent since midnight UTC."""
    query = sql.SQL(
        "SELECT coalesce(pg_catalog.sum(usd), 0) FROM {} WHERE day = (pg_catalog.now() AT TIME ZONE 'UTC')::date"
    ).format(_TABLE)
    row = connection.execute(query).fetchone()
    return float(row[0]) if row else 0.0


def spent_in_all(connection: Connection) -> float:
    """USD spent since the first day."""
    row = connection.execute(sql.SQL("SELECT coalesce(pg_catalog.sum(usd), 0) FROM {}").format(_TABLE)).fetchone()
    return float(row[0]) if row else 0.0


def record(connection: Connection, model: str, usd: float, tokens: int) -> str:
    """Add to today's spending; returns the number of the transaction, for `was_committed`."""
    row = connection.execute(
        sql.SQL(
            "INSERT INTO {} AS s (day, model, usd, tokens) VALUES ((pg_catalog.now() AT TIME ZONE "
            "'UTC')::date, %s, %s, %s) "
            "ON CONFLICT (day, model) DO UPDATE SET usd = s.usd + excluded.usd, tokens = s.tokens + excluded.tokens "
            "RETURNING pg_catalog.pg_current_xact_id()::text"
        ).format(_TABLE),
        (model, usd, tokens),
    ).fetchone()
    assert row is not None
    return str(row[0])


def was_committed(connection: Connection, transaction: str) -> bool:
    """Whether an earlier transaction was committed whose COMMIT got no answer. Call it inside a transaction.

    `transaction` is a result of `record`. Raises DatabaseUnavailable while that transaction has not ended: the server
    has not noticed yet that its client is gone. After a failover another transaction may have the same number, so the
    answer is only a hint then.
    """
    row = connection.execute(
        "SELECT CASE WHEN %(number)s::xid8 < pg_catalog.pg_current_xact_id() "
        "THEN pg_catalog.pg_xact_status(%(number)s::xid8) END",
        {"number": transaction},
    ).fetchone()
    if row is not None and row[0] == "in progress":
        raise DatabaseUnavailable("the connection broke at a COMMIT that has not ended yet; it is looked at again")
    return row is not None and row[0] == "committed"
