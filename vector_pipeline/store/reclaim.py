"""Give back the disk pages of rows that left a landing table: every search reads such a table completely."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import sql

from vector_pipeline.store.connection import Connection

# A table may have this many empty pages (1 MiB): reading them takes a fraction of a millisecond.
SLACK_PAGES = 128
# A row takes two pages at most: vectors are stored in the row, and a page holds at least one of them.
PAGES_PER_ROW = 2
# Searches and loads wait for at most this long behind the lock.
LOCK_TIMEOUT = "500ms"


def reclaim(connection: Connection, table: str, rows: int, log: Callable[[str], None]) -> bool:
    """Remove the empty pages of a landing table that has `rows` rows; returns whether the table is compact now.

    VACUUM removes only the pages behind the last row, so one late row keeps all of them. Then the table is rewritten,
    which takes as long as its few rows do. While others hold a lock on the table (a long search, pg_dump), it stays as
    it is until the next maintenance.
    """
    needed = PAGES_PER_ROW * rows
    if _pages(connection, table) <= needed:
        return True
    name = sql.Identifier(table)
    connection.execute(sql.SQL("VACUUM {}").format(name))
    if _pages(connection, table) <= needed + SLACK_PAGES:
        return True
    connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    try:
        connection.execute(sql.SQL("VACUUM (FULL) {}").format(name))
    except psycopg.errors.LockNotAvailable:
        log(f"{table} is in use; the next run gives its empty pages back")
        return False
    finally:
        connection.execute("SET lock_timeout = 0")
    return True


def _pages(connection: Connection, table: str) -> int:
    row = connection.execute(
        "SELECT pg_catalog.pg_relation_size(pg_catalog.to_regclass(pg_catalog.quote_ident(%s))) "
        "/ pg_catalog.current_setting('block_size')::bigint",
        (table,),
    ).fetchone()
    return int(row[0] or 0) if row else 0
