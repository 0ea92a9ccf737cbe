"""Every advisory lock of the pipeline: its key, what it protects, and how it is taken.

A session lock ends with its connection, so a killed process blocks no other. Only these locks show which process works
on what: Dagster's run status stays at "started" when a process is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Literal, LiteralString

from vector_pipeline.store.connection import Connection

# A run may still be alive without its lock if the server started less than this many seconds ago: its session has not
# reconnected yet.
SETTLE_SECONDS = 30.0

# The first half of the two-part keys of claim owners. No other lock has a key of two parts.
CLAIM_CLASS = 0x76656374


class Lock(StrEnum):
    """What a lock protects. The value is the beginning of its key, which is followed by the schema and a name."""

    MIGRATIONS = "vector_pipeline migrations"
    """Migrations of any schema: pgvector and the shared schema belong to all pipelines of the database."""
    ARRIVAL = "arrival"
    """One arrival: one run at a time works on it."""
    TURN = "turn"
    """One arrival, for an `ingest` that is about to run it or runs it: others take another one."""
    RUN = "run"
    """One Dagster run: it is alive while it holds this lock."""
    SCAN = "scan"
    """One root: its scans follow one another."""
    ARRIVAL_KEYS = "arrival keys"
    """The allocation of the next arrival's key."""
    SPACES = "spaces"
    """The creation of a space."""
    LOADS = "sweep"
    """Loads and answers share it. The sweep, the switch of a space and the swap of an index take it exclusively,
    because they may remove what a load relies on."""
    INDEX = "vector index"
    """The maintenance of the indexes."""
    SUBMISSION = "vector_pipeline submit"
    """Submissions of one space to the Batch API: each sees what the others have submitted."""
    BATCH = "vector_pipeline batch"
    """One batch of the Batch API: one harvest at a time loads it."""


# Functions are named with their schema: a function of the same name in another schema must not run instead.
_KEY: LiteralString = "pg_catalog.hashtextextended({}, 0)"
_IN_SCHEMA = _KEY.format("%s::text || ':' || pg_catalog.current_schema()")
_NAMED_IN_SCHEMA = _KEY.format("%s::text || ':' || pg_catalog.current_schema() || ':' || %s::text")
_IN_DATABASE = _KEY.format("%s::text")


def lock_migrations(connection: Connection) -> None:
    """Wait for the lock on migrations and hold it until the transaction ends."""
    connection.execute(f"SELECT pg_catalog.pg_advisory_xact_lock({_IN_DATABASE})", (Lock.MIGRATIONS.value,))


def lock_in_transaction(
    connection: Connection, lock: Literal[Lock.ARRIVAL_KEYS, Lock.SPACES, Lock.LOADS], *, shared: bool = False
) -> None:
    """Wait for a lock of this schema and hold it until the transaction ends."""
    kind: LiteralString = "_shared" if shared else ""
    connection.execute(f"SELECT pg_catalog.pg_advisory_xact_lock{kind}({_IN_SCHEMA})", (lock.value,))


def lock_scan(connection: Connection, root: str, *, log: Callable[[str], None] = lambda _: None) -> None:
    """Wait for the lock on scans of a root and hold it until the connection is closed.

    `log` receives a line if it has to wait.
    """
    if not try_lock_named(connection, Lock.SCAN, root):
        log(f"another scan of {root} is under way; waiting for its end")
        connection.execute(f"SELECT pg_catalog.pg_advisory_lock({_NAMED_IN_SCHEMA})", (Lock.SCAN.value, root))


def try_lock_index(connection: Connection) -> bool:
    """Take the lock on index maintenance, if it is free, until the connection is closed; returns whether it was."""
    row = connection.execute(f"SELECT pg_catalog.pg_try_advisory_lock({_IN_SCHEMA})", (Lock.INDEX.value,)).fetchone()
    return bool(row and row[0])


def try_lock_named(
    connection: Connection, lock: Literal[Lock.ARRIVAL, Lock.TURN, Lock.RUN, Lock.SCAN], name: str
) -> bool:
    """Take the lock with a name, if it is free, until the connection is closed; returns whether it was."""
    query = f"SELECT pg_catalog.pg_try_advisory_lock({_NAMED_IN_SCHEMA})"
    row = connection.execute(query, (lock.value, name)).fetchone()
    return bool(row and row[0])


def unlock_all(connection: Connection) -> None:
    """Release every session lock of a connection."""
    connection.execute("SELECT pg_catalog.pg_advisory_unlock_all()")


@contextmanager
def submission(connection: Connection, space: str) -> Iterator[None]:
    """Hold the lock on submissions of a space (with its schema's name) to the Batch API, waiting for it."""
    name = f"{Lock.SUBMISSION} {space}"
    connection.execute(f"SELECT pg_catalog.pg_advisory_lock({_IN_DATABASE})", (name,))
    try:
        yield
    finally:
        _unlock(connection, name)


@contextmanager
def batch(connection: Connection, key: str) -> Iterator[bool]:
    """Hold the lock on a batch, if it is free; yields whether it was free."""
    name = f"{Lock.BATCH} {key}"
    row = connection.execute(f"SELECT pg_catalog.pg_try_advisory_lock({_IN_DATABASE})", (name,)).fetchone()
    taken = bool(row and row[0])
    try:
        yield taken
    finally:
        if taken:
            _unlock(connection, name)


def lock_claim_owner(connection: Connection, owner: int) -> None:
    """Hold the lock that keeps an owner's claims valid until the connection is closed; `owner` has 31 bits."""
    connection.execute("SELECT pg_catalog.pg_advisory_lock(%s::int, %s::int)", (CLAIM_CLASS, owner))


def in_progress(connection: Connection, arrivals: Sequence[str]) -> set[str]:
    """The arrivals among these that a run works on at this moment, on any machine."""
    return _held(connection, Lock.ARRIVAL, arrivals)


def taken(connection: Connection, arrivals: Sequence[str]) -> set[str]:
    """The arrivals among these that a run works on, or is about to, at this moment, on any machine."""
    return in_progress(connection, arrivals) | _held(connection, Lock.TURN, arrivals)


def scanning(connection: Connection, roots: Sequence[str]) -> set[str]:
    """The roots among these that are being scanned at this moment."""
    return _held(connection, Lock.SCAN, roots)


def alive(connection: Connection, runs: Sequence[str], *, settle_seconds: float | None = None) -> set[str]:
    """The Dagster runs among these that hold their lock; all of them if the server started too recently to tell."""
    settle_seconds = SETTLE_SECONDS if settle_seconds is None else settle_seconds
    # Since a clock was set back the start may lie in the future, where it shows nothing.
    row = connection.execute(
        "SELECT pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time() BETWEEN interval '0' AND "
        "%s::float8 * interval '1 second'",
        (settle_seconds,),
    ).fetchone()
    return set(runs) if row and row[0] else _held(connection, Lock.RUN, runs)


def _held(connection: Connection, lock: Lock, names: Sequence[str]) -> set[str]:
    rows = connection.execute(
        f"""
        SELECT name FROM pg_catalog.unnest(%s::text[]) AS name
        WHERE EXISTS (
            SELECT FROM pg_catalog.pg_locks l
            WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
              AND l.database = (
                  SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
              AND (l.classid::bigint << 32) | l.objid::bigint
                  = {_KEY.format("%s::text || ':' || pg_catalog.current_schema() || ':' || name")}
        )
        """,
        (list(names), lock.value),
    )
    return {row[0] for row in rows}


def _unlock(connection: Connection, name: str) -> None:
    if not connection.closed:
        connection.execute(f"SELECT pg_catalog.pg_advisory_unlock({_IN_DATABASE})", (name,))
