"""Fences: only the run with the highest number may write for an arrival, and each transaction that writes proves it.

A lock shows who may work. But a lock is lost with its session, and a process that was stopped or cut off does not notice
that. So each run that takes over an arrival gets a number, one higher than the last (a fencing token). Each of its
transactions proves that no higher number exists. The proof locks the row of the arrival, so a successor gets its number
before such a transaction begins or after it ends, but never during it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from vector_pipeline.errors import TakenOver
from vector_pipeline.store.connection import Connection, Owner

STILL_OWNED = (
    "EXISTS (SELECT FROM arrivals o WHERE o.key = %(arrival)s AND "
    "(%(number)s::bigint IS NULL OR o.owner_number = %(number)s) FOR SHARE)"
)
"""A condition for statements that are a transaction of their own. `numbered` returns its parameters."""


def numbered(connection: Connection, arrival: str) -> dict[str, object]:
    """The parameters of STILL_OWNED. For a connection that belongs to no run the condition is always true."""
    owner = connection.owner
    return {"arrival": arrival, "number": owner.number if owner and owner.arrival == arrival else None}


def take_over(connection: Connection, arrival: str) -> Owner:
    """Become the owner of an arrival and count one more run of it. Earlier owners can write nothing more.

    It waits for a transaction in which an earlier owner is writing.
    """
    row = connection.execute(
        "UPDATE arrivals SET owner_number = owner_number + 1, attempts = attempts + 1, finished_at = NULL, "
        "stages_removed = false "
        "WHERE key = %s RETURNING owner_number",
        (arrival,),
    ).fetchone()
    return Owner(arrival, int(row[0]) if row else 0)


def next_owner(connection: Connection, arrival: str) -> Owner:
    """The owner that the next run of an arrival will be, for entries about that run from outside."""
    row = connection.execute("SELECT owner_number FROM arrivals WHERE key = %s", (arrival,)).fetchone()
    return Owner(arrival, int(row[0]) + 1 if row else 0)


def is_current(connection: Connection, owner: Owner) -> bool:
    """Whether no other run has taken over the arrival since."""
    row = connection.execute(
        "SELECT owner_number = %s FROM arrivals WHERE key = %s", (owner.number, owner.arrival)
    ).fetchone()
    return row is None or bool(row[0])


def select_owner(connection: Connection) -> psycopg.Cursor[tuple[int]] | None:
    """Select the proof. In pipeline mode `prove` waits for it."""
    if connection.owner is None:
        return None
    return connection.execute("SELECT owner_number FROM arrivals WHERE key = %s FOR SHARE", (connection.owner.arrival,))


def prove(connection: Connection, asked: psycopg.Cursor[tuple[int]] | None) -> None:
    """Raise TakenOver unless the connection's run is still the owner of its arrival."""
    owner = connection.owner
    if asked is None or owner is None:
        return
    row = asked.fetchone()
    if row is not None and row[0] != owner.number:
        raise TakenOver(
            f"arrival {owner.arrival} was taken over by another run while this one was stopped or cut off from "
            "Postgres: this one writes nothing more, and the other does the work"
        )


@contextmanager
def owned_transaction(connection: Connection) -> Iterator[None]:
    """A transaction during which the connection's run remains the owner of its arrival.

    Raises TakenOver and writes nothing if the run is no longer the owner.
    """
    with connection.transaction():
        prove(connection, select_owner(connection))
        yield
