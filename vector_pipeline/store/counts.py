"""The numbers of rows of the large tables. The transactions that change them keep them, and no run counts rows.

A figure is the sum of what was added to it, one small row a change; `fold` makes one row of many.
"""

from __future__ import annotations

from psycopg import sql

from vector_pipeline.store.connection import Connection

CHUNKS = "chunks"

# After this many changes the added rows are folded into one.
FOLDED_FROM = 200


def add_rows(connection: Connection, relation: str, rows: int) -> None:
    """Record in a transaction that it adds this many rows to a table, or removes them if negative."""
    if rows:
        connection.execute("INSERT INTO row_counts (relation, rows) VALUES (%s, %s)", (relation, rows))


def count_rows(connection: Connection, relation: str) -> int:
    """The number of rows of a table."""
    row = connection.execute(
        "SELECT coalesce(pg_catalog.sum(rows), 0)::bigint FROM row_counts WHERE relation = %s", (relation,)
    ).fetchone()
    return int(row[0]) if row else 0


def set_rows(connection: Connection, relation: str, rows: int) -> None:
    """Set the number of rows of a table, in a transaction without concurrent changes of the table."""
    connection.execute("DELETE FROM row_counts WHERE relation = %s", (relation,))
    add_rows(connection, relation, rows)


def recount(connection: Connection, relation: str) -> int:
    """Count the rows of a table, in a transaction without concurrent changes of the table; returns the number."""
    row = connection.execute(sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(sql.Identifier(relation))).fetchone()
    assert row is not None
    set_rows(connection, relation, row[0])
    return int(row[0])


def fold(connection: Connection) -> None:
    """Fold many rows into one. The sums do not change."""
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
