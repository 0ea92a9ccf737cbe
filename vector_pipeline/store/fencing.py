"""Fences: only the run with the highest number may write for an arrival, and each transaction that writes proves it.

A lock shows who may work. But a lock is lost with its session, and a process that was stopped or cut off does not notice
that. So each run that takes over an arrival gets a number, one higher than the last (a fencing token). Each of its
transactions proves that no higher number exists. The proof locks the row of the arrival, so a successor gets its number
before such a transaction begins or after it ends, but never during it.

With the number an owner gets a random nonce, and both must match. A server that took over for another one may lack its
last transactions and give a number once more.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from vector_pipeline.errors import TakenOver
from vector_pipeline.store.connection import Connection, Owner

OWNED = (
    "(%(number)s::bigint IS NULL OR owner_number = %(number)s) AND (%(nonce)s::uuid IS NULL OR owner_nonce = %(nonce)s)"
)
"""A condition for a row of `arrivals`. `numbered` returns its parameters."""

STILL_OWNED = f"EXISTS (SELECT FROM arrivals o WHERE o.key = %(arrival)s AND {OWNED} FOR SHARE)"
"""A condition for statements that are a transaction of their own. `numbered` returns its parameters."""


def numbered(connection: Connection, arrival: str) -> dict[str, object]:
    """The parameters of OWNED and STILL_OWNED. For a connection that belongs to no run the condition is always true."""
    owner = connection.owner if connection.owner and connection.owner.arrival == arrival else None
    return {"arrival": arrival, "number": owner and owner.number, "nonce": owner and owner.nonce}


def take_over(connection: Connection, arrival: str) -> Owner:
    """Become the owner of an arrival and count one more run of it. Earlier owners can write nothing more.

    It waits for a transaction in which an earlier owner is writing.
    """
    row = connection.execute(
        "UPDATE arrivals SET owner_number = owner_number + 1, owner_nonce = pg_catalog.gen_random_uuid(), "
        "attempts = attempts + 1, finished_at = NULL, stages_removed = false "
        "WHERE key = %s RETURNING owner_number, owner_nonce",
        (arrival,),
    ).fetchone()
    return Owner(arrival, *row) if row else Owner(arrival, 0)


def next_owner(connection: Connection, arrival: str) -> Owner:
    """The owner that the next run of an arrival will be, for entries about that run from outside. Its nonce is open."""
    row = connection.execute("SELECT owner_number FROM arrivals WHERE key = %s", (arrival,)).fetchone()
    return Owner(arrival, int(row[0]) + 1 if row else 0)


def is_current(connection: Connection, owner: Owner) -> bool:
    """Whether no other run has taken over the arrival since."""
    row = connection.execute(
        "SELECT owner_number, owner_nonce FROM arrivals WHERE key = %s", (owner.arrival,)
    ).fetchone()
    return row is None or _names(row, owner)


def _names(row: tuple[int, uuid.UUID | None], owner: Owner) -> bool:
    """Whether the number and the nonce of an arrival are those of an owner."""
    return row[0] == owner.number and owner.nonce in (None, row[1])


def select_owner(connection: Connection) -> psycopg.Cursor[tuple[int, uuid.UUID | None]] | None:
    """Select the proof. In pipeline mode `prove` waits for it."""
    if connection.owner is None:
        return None
    query = "SELECT owner_number, owner_nonce FROM arrivals WHERE key = %s FOR SHARE"
    return connection.execute(query, (connection.owner.arrival,))


def prove(connection: Connection, asked: psycopg.Cursor[tuple[int, uuid.UUID | None]] | None) -> None:
    """Raise TakenOver unless the connection's run is still the owner of its arrival."""
    owner = connection.owner
    if asked is None or owner is None:
        return
    row = asked.fetchone()
    if row is not None and not _names(row, owner):
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
