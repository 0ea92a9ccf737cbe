"""Which of the pending arrivals this process runs, where other processes run some of them too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from vector_pipeline.errors import counted
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.locks import Lock, taken, try_lock_named, unlock_all

POLL_SECONDS = 0.5


class Turns:
    """Yields the arrivals to run, oldest first, and leaves out those that others take. Use as a context manager.

    It ends when no arrival is left that is pending or that another process works on. So every process that shares the
    work returns when all of it is done, and takes over what another one leaves behind.
    """

    def __init__(self, database: Database, arrivals: Sequence[str], say: Callable[[str], None]) -> None:
        # If the connection is lost, so are its locks. The lock of the run itself then decides.
        self._kept = Kept(database, "ingest turns")
        self._left = list(arrivals)
        self._say = say
        self.elsewhere = 0
        """Arrivals that other processes loaded."""

    def __enter__(self) -> Self:
        self._kept.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[str]:
        waits = False
        while self._left:
            arrival = self._kept.run(self._take)
            if arrival is not None:
                self._left.remove(arrival)
                yield arrival
                self._kept.run(unlock_all)
            elif self._left:
                if not waits:
                    self._say(
                        f"{counted(len(self._left), 'arrival is', 'arrivals are')} being loaded by other processes; "
                        "waiting for their end"
                    )
                waits = True
                time.sleep(POLL_SECONDS)

    def _take(self, connection: Connection) -> str | None:
        """The oldest arrival that no other process has taken; it is taken now. Those that others loaded are dropped."""
        unlock_all(connection)
        others = taken(connection, self._left)
        for arrival in [arrival for arrival in self._left if arrival not in others]:
            if not try_lock_named(connection, Lock.TURN, arrival):
                continue
            if manifest.count_files(connection, arrival).pending:
                return arrival
            unlock_all(connection)
            self._left.remove(arrival)
            self.elsewhere += 1
        return None
