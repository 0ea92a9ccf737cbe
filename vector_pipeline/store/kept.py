"""Connections that are opened again after they break, for work that can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import psycopg

from vector_pipeline.errors import DatabaseUnavailable
from vector_pipeline.store.again import again
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.failures import is_passing

T = TypeVar("T")


class Kept:
    """A connection for work that may be repeated after a failure. Use it as a context manager.

    If Postgres goes away or becomes a standby, the work is repeated on a new connection, until the database's
    `retry_seconds` are over. `prepare` sets up each new connection: its locks and its settings.
    """

    def __init__(
        self,
        database: Database,
        role: str,
        *,
        prepare: Callable[[Connection], None] = lambda _: None,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._role = role
        self._prepare = prepare
        self._log = log
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, psycopg.Error):
            raise self._database.explained(error) from error

    def close(self) -> None:
        """Close the connection. The next work opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do some work on the connection, and repeat it if Postgres was away.

        The work begins and ends its own transactions. Its effect may already exist when it is repeated: if a connection
        is lost at COMMIT, it is unknown whether the COMMIT was carried out. Raises DatabaseUnavailable after the time.
        """
        try:
            return again(self._database.retry_seconds, lambda: self._once(work), log=self._log)
        except psycopg.Error as error:
            if is_passing(error):
                raise self._database.explained(error) from error
            raise

    def _once(self, work: Callable[[Connection], T]) -> T:
        try:
            return work(self._opened())
        except (psycopg.Error, DatabaseUnavailable):
            # Its state is unknown, so the next work gets a new connection.
            self.close()
            raise

    def _opened(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = self._database.connect(role=self._role)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def repeated(database: Database, role: str, work: Callable[[Connection], T]) -> T:
    """Do one piece of work on a connection of its own, and repeat it if Postgres was away; see `Kept.run`."""
    with Kept(database, role) as kept:
        return kept.run(work)
