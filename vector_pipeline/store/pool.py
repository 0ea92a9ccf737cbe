"""A pool of connections for many short queries at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import psycopg

from vector_pipeline.errors import DatabaseUnavailable, one_line
from vector_pipeline.store.connection import Connection, Database

# A connection that was idle for longer is checked before it is used.
CHECKED_AFTER_SECONDS = 5.0
WAIT_SECONDS = 30.0


class ConnectionPool:
    """Up to `most` connections, which `Database.connect` opens when they are needed. Threads may share the pool."""

    def __init__(self, database: Database, *, role: str, most: int) -> None:
        self._database = database
        self._role = role
        self._most = most
        self._free = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Connection]] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. Those in use are closed when they are returned."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection of the caller's own for a while.

        Raises DatabaseUnavailable where all are in use for too long, or Postgres does not answer; DatabaseError where
        it refuses.
        """
        if not self._free.acquire(timeout=WAIT_SECONDS):
            raise DatabaseUnavailable(
                f"all {self._most:,} connections of the pool were in use for {WAIT_SECONDS:.0f} s; allow more"
            )
        try:
            connection = self._take()
            try:
                yield connection
            except psycopg.OperationalError as error:
                connection.close()
                raise DatabaseUnavailable(f"Postgres went away during a search ({one_line(error)})") from error
            except BaseException:
                connection.close()  # its state is unknown, so it is not used again
                raise
            self._give_back(connection)
        finally:
            self._free.release()

    def _take(self) -> Connection:
        while True:
            with self._lock:
                if self._closed:
                    raise DatabaseUnavailable("the pool of connections is closed")
                since, connection = self._idle.pop() if self._idle else (0.0, None)
            if connection is None:
                return self._database.connect(role=self._role, row_policies=True)
            if time.monotonic() - since < CHECKED_AFTER_SECONDS or _stands(connection):
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed and not connection.closed:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()


def _stands(connection: Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
