"""Connections that come back by themselves, for work that can be repeated."""

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
    """A connection for work that may be done again where it failed half-way. Use as a context manager.

    Where Postgres goes away, or became a standby, the work is done again on a new connection, until the database's
    `retry_seconds` are over. `prepare` makes each new connection what the work expects of it: its locks, its settings.
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
        """Close the connection; the next work opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do some work on the connection, and again where Postgres was away meanwhile.

        The work begins and ends its transactions itself, and may find done already what it is to do: a connection that
        is lost at COMMIT does not tell whether it was carried out. Raises DatabaseUnavailable once the time is over.
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
            # Whatever state it is in: the next work has a new one.
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
    """Do one piece of work on a connection of its own, and again where Postgres was away meanwhile; see `Kept.run`."""
    with Kept(database, role) as kept:
        return kept.run(work)
