"""Detect a proxy that gives each transaction another session: the pipeline's locks and settings would be lost."""

from __future__ import annotations

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.store.connection import Connection, Database

TRIES = 3


def refuse_transaction_pooling(database: Database, connection: Connection) -> None:
    """Raise ConfigurationError if sessions of Postgres are reassigned between transactions.

    A server tells its process id when a session begins; a proxy that tells another one is looked at more closely. Two
    sessions of its that are in one process, or one that is in two, are nobody's own.
    """
    if _process(connection) == connection.info.backend_pid:
        return
    for _ in range(TRIES):
        before = _process(connection)
        with database.connect(role="schema") as other, other.transaction():
            if before in (_process(other), None) or _process(connection) != before:
                raise ConfigurationError(
                    f"a proxy between this machine and {database.safe_url} gives each transaction another session, so "
                    "that locks and settings do not hold: name Postgres itself in DATABASE_URL, or a port of the "
                    "proxy that pools whole sessions (pgbouncer: pool_mode = session)"
                )


def _process(connection: Connection) -> int | None:
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    return int(row[0]) if row else None
