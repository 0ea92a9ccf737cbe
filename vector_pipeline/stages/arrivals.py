"""Who works on an arrival: whoever holds its advisory lock in Postgres, which dies with the connection.

Nothing else is trusted: not Dagster's run status, which a killed process leaves at "started".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database

POLL_SECONDS = 1.0
LOG_EVERY_SECONDS = 30.0

# One 64-bit key per schema and arrival; written once here and used by every statement below.
_KEY = "hashtextextended('arrival:' || current_schema() || ':' || {arrival}, 0)"


@contextmanager
def hold_arrival(database: Database, arrival: str, *, log: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold an arrival, waiting while somebody else does; `log` is told about the wait now and then."""
    with database.connect(role=f"arrival {arrival}") as connection:
        began = told = time.monotonic()
        while not _try_lock(connection, arrival):
            now = time.monotonic()
            if log and (now == told or now - told >= LOG_EVERY_SECONDS):
                log(f"arrival {arrival} is being worked on elsewhere; waiting ({now - began:,.0f} s so far)")
                told = now
            time.sleep(POLL_SECONDS)
        manifest.begin_attempt(connection, arrival)
        yield


def _try_lock(connection: manifest.Connection, arrival: str) -> bool:
    row = connection.execute(f"SELECT pg_try_advisory_lock({_KEY.format(arrival='%s')})", (arrival,)).fetchone()
    return bool(row and row[0])


def in_progress(connection: manifest.Connection, arrivals: Sequence[str]) -> set[str]:
    """Those of the arrivals that somebody holds at this moment, on whatever machine."""
    rows = connection.execute(
        f"""
        SELECT a FROM unnest(%s::text[]) AS a
        WHERE EXISTS (
            SELECT FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (l.classid::bigint << 32) | l.objid::bigint = {_KEY.format(arrival="a")}
        )
        """,
        (list(arrivals),),
    )
    return {row[0] for row in rows}
