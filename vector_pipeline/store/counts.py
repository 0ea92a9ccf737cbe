"""How many rows the large tables have: kept in the transactions that change them, and never counted for a run.

A figure is the sum of what was added to it, one small row a change; `fold` makes one row of many.
"""

from __future__ import annotations

from psycopg import sql

from vector_pipeline.store.connection import Connection

CHUNKS = "chunks"

# From so many changes on, what has been added is made one row again.
FOLDED_FROM = 200


def add_rows(connection: Connection, relation: str, rows: int) -> None:
    """Note in a transaction that it brings a table so many rows, or takes them away where negative."""
    if rows:
        connection.execute("INSERT INTO row_counts (relation, rows) VALUES (%s, %s)", (relation, rows))


def count_rows(connection: Connection, relation: str) -> int:
    """Rows of a table."""
    row = connection.execute(
        "SELECT coalesce(pg_catalog.sum(rows), 0)::bigint FROM row_counts WHERE relation = %s", (relation,)
    ).fetchone()
    return int(row[0]) if row else 0


def set_rows(connection: Connection, relation: str, rows: int) -> None:
    """Note in a transaction, beside which nothing changes a table, that it has so many rows."""
    connection.execute("DELETE FROM row_counts WHERE relation = %s", (relation,))
    add_rows(connection, relation, rows)


def recount(connection: Connection, relation: str) -> int:
    """Count a table, in a transaction beside which nothing changes it; returns its rows."""
    row = connection.execute(sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(sql.Identifier(relation))).fetchone()
    assert row is not None
    set_rows(connection, relation, row[0])
    return int(row[0])


def fold(connection: Connection) -> None:
    """Make one row of many, where there are many; the figures stay."""
    for table, columns, figure in (
        ("row_counts", "relation", "rows"),
        ("file_counts", "root, status, gone, pipeline", "files"),
    ):
        row = connection.execute(f"SELECT pg_catalog.count(*) >= {FOLDED_FROM} FROM {table}".encode()).fetchone()
        if row and row[0]:
            connection.execute(
                f"WITH folded AS (DELETE FROM {table} RETURNING *) INSERT INTO {table} ({columns}, {figure}) "
                f"SELECT {columns}, pg_catalog.sum({figure}) FROM folded GROUP BY {columns} "
                f"HAVING pg_catalog.sum({figure}) <> 0".encode()
            )
