"""Who may still write for an arrival: the run with the highest number, proved in each transaction that writes.

A lock says who may work, but it is lost with its session, and a process that was stopped or cut off does not notice.
So each run that takes an arrival up gets a number, one higher than the last (a fencing token), and what it writes is
written together with the proof that no higher one was given out since. The proof locks the arrival's row: a successor
gets its number before a transaction has begun to write or after it has ended, never in between.
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
"""A condition for statements that are a transaction of their own; see `numbered` for its parameters."""


def numbered(connection: Connection, arrival: str) -> dict[str, object]:
    """The parameters of STILL_OWNED. A connection that is no run's writes as it always did."""
    owner = connection.owner
    return {"arrival": arrival, "number": owner.number if owner and owner.arrival == arrival else None}


def take_over(connection: Connection, arrival: str) -> Owner:
    """Become the owner of an arrival, whose earlier owners write nothing more, and count one more run of it.

    Waits for a transaction in which an earlier owner is writing.
    """
    row = connection.execute(
        "UPDATE arrivals SET owner_number = owner_number + 1, attempts = attempts + 1, finished_at = NULL, "
        "stages_removed = false "
        "WHERE key = %s RETURNING owner_number",
        (arrival,),
    ).fetchone()
    return Owner(arrival, int(row[0]) if row else 0)


def next_owner(connection: Connection, arrival: str) -> Owner:
    """What the next run of an arrival is going to be, for what is noted of that run from outside."""
    row = connection.execute("SELECT owner_number FROM arrivals WHERE key = %s", (arrival,)).fetchone()
    return Owner(arrival, int(row[0]) + 1 if row else 0)


def is_current(connection: Connection, owner: Owner) -> bool:
    """Whether nobody has taken an arrival over since."""
    row = connection.execute(
        "SELECT owner_number = %s FROM arrivals WHERE key = %s", (owner.number, owner.arrival)
    ).fetchone()
    return row is None or bool(row[0])


def select_owner(connection: Connection) -> psycopg.Cursor[tuple[int]] | None:
    """Ask for the proof, for a pipeline: `prove` waits for it."""
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
    """A transaction in which the connection's run is the owner of its arrival from beginning to end.

    Raises TakenOver, with nothing written, where it is not.
    """
    with connection.transaction():
        prove(connection, select_owner(connection))
        yield
