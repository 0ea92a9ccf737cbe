"""The money that all pipelines of a database spent, by day (UTC)."""

from __future__ import annotations

from psycopg import sql

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


def record(connection: Connection, model: str, usd: float, tokens: int) -> float:
    """Add to today's spending; returns the USD that all runs have spent since midnight UTC."""
    connection.execute(
        sql.SQL(
            "INSERT INTO {} AS s (day, model, usd, tokens) VALUES ((pg_catalog.now() AT TIME ZONE "
            "'UTC')::date, %s, %s, %s) "
            "ON CONFLICT (day, model) DO UPDATE SET usd = s.usd + excluded.usd, tokens = s.tokens + excluded.tokens"
        ).format(_TABLE),
        (model, usd, tokens),
    )
    return spent_today(connection)
