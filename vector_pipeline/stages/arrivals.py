"""Who works on what: whoever holds its advisory lock in Postgres, which dies with the connection.

Nothing else is trusted: not Dagster's run status, which a killed process leaves at "started".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, Self

import psycopg

from vector_pipeline.errors import PipelineError
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, Database

Kind = Literal["arrival", "run"]

POLL_SECONDS = 1.0
LOG_EVERY_SECONDS = 30.0

# How often a holder looks whether its connection is still there.
LOOK_EVERY_SECONDS = 5.0

# A server that has been up for less than this may not have heard again yet from those who held locks before.
SETTLE_SECONDS = 30.0

# One 64-bit key per schema, kind and name; written once here and used by every statement below.
_KEY = "hashtextextended({kind} || ':' || current_schema() || ':' || {name}, 0)"


class Locks:
    """What one run holds: advisory locks on a connection of their own, taken again where Postgres was away.

    Use as a context manager; all are given back at its end, or when the process dies.
    """

    def __init__(self, database: Database, role: str) -> None:
        self._database = database
        self._role = role
        self._connection = database.connect(role=role)
        self._held: list[tuple[Kind, str]] = []
        self._mutex = threading.Lock()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"locks of {role}", daemon=True)
        self._keeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        self._ended.set()
        self._keeper.join()
        with suppress(psycopg.Error):
            # A server notices only a moment after it that a connection was closed.
            self._connection.execute("SELECT pg_advisory_unlock_all()")
        self._connection.close()

    def hold_run(self, run: str) -> None:
        """Say that a run of Dagster's is alive; its id is nobody else's."""
        with self._mutex:
            self._try(self._connection, "run", run)
            self._held.append(("run", run))

    def hold_arrival(self, arrival: str, *, log: Callable[[str], None] | None = None) -> bool:
        """Hold an arrival, waiting while somebody else does; returns whether somebody did.

        `log` is told about the wait now and then.
        """
        if ("arrival", arrival) in self._held:
            return False
        began = told = time.monotonic()
        waited = False
        while not self._take_arrival(arrival):
            waited = True
            now = time.monotonic()
            if log and (now == told or now - told >= LOG_EVERY_SECONDS):
                log(f"arrival {arrival} is being worked on elsewhere; waiting ({now - began:,.0f} s so far)")
                told = now
            time.sleep(POLL_SECONDS)
        return waited

    def _take_arrival(self, arrival: str) -> bool:
        with self._mutex:
            if not self._try(self._connection, "arrival", arrival):
                return False
            manifest.begin_attempt(self._connection, arrival)
            self._held.append(("arrival", arrival))
            return True

    def _keep(self) -> None:
        while not self._ended.wait(LOOK_EVERY_SECONDS):
            with self._mutex, suppress(psycopg.Error, PipelineError):  # still away; the next look tries again
                self._look()

    def _look(self) -> None:
        with suppress(psycopg.OperationalError):
            self._connection.execute("SELECT")
            return
        connection = self._database.connect(role=self._role)
        self._connection.close()
        self._connection = connection
        for kind, name in self._held:
            # Whoever took an arrival meanwhile keeps it: two at once cost time, and nothing else.
            self._try(connection, kind, name)

    @staticmethod
    def _try(connection: Connection, kind: Kind, name: str) -> bool:
        key = _KEY.format(kind="%s::text", name="%s")
        row = connection.execute(f"SELECT pg_try_advisory_lock({key})", (kind, name)).fetchone()
        return bool(row and row[0])


def in_progress(connection: Connection, arrivals: Sequence[str]) -> set[str]:
    """Those of the arrivals that somebody holds at this moment, on whatever machine."""
    return _held(connection, "arrival", arrivals)


def alive(connection: Connection, runs: Sequence[str]) -> set[str]:
    """Those of the runs that are known to be alive, or of which nothing can be said because Postgres just came up."""
    row = connection.execute(
        "SELECT clock_timestamp() - pg_postmaster_start_time() < %s * interval '1 second'", (SETTLE_SECONDS,)
    ).fetchone()
    return set(runs) if row and row[0] else _held(connection, "run", runs)


def _held(connection: Connection, kind: Kind, names: Sequence[str]) -> set[str]:
    rows = connection.execute(
        f"""
        SELECT name FROM unnest(%s::text[]) AS name
        WHERE EXISTS (
            SELECT FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (l.classid::bigint << 32) | l.objid::bigint = {_KEY.format(kind="%s::text", name="name")}
        )
        """,
        (list(names), kind),
    )
    return {row[0] for row in rows}
