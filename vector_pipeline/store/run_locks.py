"""The locks that a run holds on itself and on its arrivals. They are taken again when Postgres comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Self

import psycopg

from vector_pipeline.errors import PipelineError
from vector_pipeline.store import fencing, locks
from vector_pipeline.store.again import again
from vector_pipeline.store.connection import Database, Owner
from vector_pipeline.store.locks import Lock

Name = Literal[Lock.ARRIVAL, Lock.RUN]

POLL_SECONDS = 1.0
LOG_EVERY_SECONDS = 30.0

# The time between two checks of the connection.
LOOK_EVERY_SECONDS = 5.0


class RunLocks:
    """The advisory locks of one run, on a connection of their own. They are taken again after Postgres was away.

    Use it as a context manager. All locks are released at its end, or when the process dies.
    """

    def __init__(self, database: Database, role: str, *, look_every_seconds: float = LOOK_EVERY_SECONDS) -> None:
        self._database = database
        self._role = role
        self._look_every_seconds = look_every_seconds
        self._connection = database.connect(role=role)
        self._held: list[tuple[Name, str]] = []
        self._lost: list[tuple[Name, str]] = []
        self._owners: dict[str, Owner] = {}
        self._mutex = threading.Lock()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"locks of {role}", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release all locks."""
        self._ended.set()
        self._keeper.join()
        with suppress(psycopg.Error):
            # A server notices a closed connection only after a moment, so release the locks first.
            locks.unlock_all(self._connection)
        self._connection.close()

    def hold_run(self, run: str) -> None:
        """Hold the lock of a Dagster run, which shows that it is alive. No other process uses its id."""
        with self._mutex:
            locks.try_lock_named(self._connection, Lock.RUN, run)
            self._held.append((Lock.RUN, run))

    def owner(self, arrival: str) -> Owner:
        """This run as the owner of an arrival that it holds."""
        return self._owners[arrival]

    def hold_arrival(self, arrival: str, *, log: Callable[[str], None] | None = None) -> bool:
        """Hold an arrival. Wait while another run holds it; returns whether one did.

        `log` receives a line about the wait at once, and then from time to time.
        """
        if arrival in self._owners:
            return False
        began = logged = time.monotonic()
        waited = False
        while not self._take_arrival(arrival):
            now = time.monotonic()
            if log and (not waited or now - logged >= LOG_EVERY_SECONDS):
                log(f"arrival {arrival} is being worked on elsewhere; waiting ({now - began:,.0f} s so far)")
                logged = now
            waited = True
            time.sleep(POLL_SECONDS)
        return waited

    def _take_arrival(self, arrival: str) -> bool:
        return again(self._database.retry_seconds, lambda: self._take_arrival_once(arrival))

    def _take_arrival_once(self, arrival: str) -> bool:
        with self._mutex:
            if self._connection.closed:
                self._look()
            if not locks.try_lock_named(self._connection, Lock.ARRIVAL, arrival):
                return False
            self._owners[arrival] = fencing.take_over(self._connection, arrival)
            self._held.append((Lock.ARRIVAL, arrival))
            return True

    def _keep(self) -> None:
        while not self._ended.wait(self._look_every_seconds):
            with self._mutex, suppress(psycopg.Error, PipelineError):  # still away; the next look tries again
                self._look()

    def _look(self) -> None:
        try:
            self._connection.execute("SELECT")
        except psycopg.OperationalError:
            connection = self._database.connect(role=self._role)
            self._connection.close()
            self._connection = connection
            self._held, self._lost = [], [*self._held, *self._lost]
        if self._lost:
            self._lost = [lost for lost in self._lost if self._is_to_be_taken_again(*lost)]

    def _is_to_be_taken_again(self, kind: Name, name: str) -> bool:
        """Take a lock again that was lost with its connection; returns whether to try again later.

        If another run has taken over an arrival, its lock is not taken, and this run's writes for it are refused.
        """
        if kind is Lock.ARRIVAL and not fencing.is_current(self._connection, self._owners[name]):
            return False
        if not locks.try_lock_named(self._connection, kind, name):
            return True  # the server has not noticed yet that the old connection is gone
        self._held.append((kind, name))
        return False
