"""Which of the pending arrivals this process runs, where other processes run some of them too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from vector_pipeline.errors import counted
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.locks import Lock, taken, try_lock_named, unlock_all

POLL_SECONDS = 0.5


@dataclass(slots=True)
class _Work:
    """The arrivals that are left, for all that take turns in this process."""

    left: list[str]
    elsewhere: int = 0
    taking: threading.Lock = field(default_factory=threading.Lock)


class Turns:
    """Yields the arrivals to run, oldest first, and leaves out those that others take. Use as a context manager.

    It ends when no arrival is left that is pending or that another process works on. So every process that shares the
    work returns when all of it is done, and takes over what another one leaves behind.
    """

    def __init__(self, database: Database, arrivals: Sequence[str], say: Callable[[str], None]) -> None:
        self._database = database
        # If the connection is lost, so are its locks. The lock of the run itself then decides.
        self._kept = Kept(database, "ingest turns")
        self._work = _Work(list(arrivals))
        self._say = say
        self._waits = True

    def beside(self) -> Turns:
        """Other turns at the same arrivals, for another thread: an arrival is yielded once, and they never wait."""
        other = Turns(self._database, (), self._say)
        other._work = self._work
        other._waits = False
        return other

    @property
    def elsewhere(self) -> int:
        """The number of arrivals that other processes loaded."""
        return self._work.elsewhere

    def __enter__(self) -> Self:
        self._kept.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[str]:
        has_waited = False
        while True:
            with self._work.taking:
                arrival = self._kept.run(self._take)
            if arrival is not None:
                yield arrival
                self._kept.run(unlock_all)
                continue
            left = len(self._work.left)
            if not left or not self._waits:
                return
            if not has_waited:
                several = counted(left, "arrival is", "arrivals are")
                self._say(f"{several} being loaded by other processes; waiting for their end")
            has_waited = True
            time.sleep(POLL_SECONDS)

    def _take(self, connection: Connection) -> str | None:
        """The oldest arrival that no other process has taken; it is taken now. Those that others loaded are dropped."""
        unlock_all(connection)
        left = self._work.left
        others = taken(connection, left)
        for arrival in [arrival for arrival in left if arrival not in others]:
            if not try_lock_named(connection, Lock.TURN, arrival):
                continue
            # An error of Postgres repeats this function, so the arrival is dropped after the last statement.
            if manifest.count_files(connection, arrival).pending:
                left.remove(arrival)
                return arrival
            unlock_all(connection)
            left.remove(arrival)
            self._work.elsewhere += 1
        return None
