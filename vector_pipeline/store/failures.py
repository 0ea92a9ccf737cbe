"""What Postgres reports: the names by which the rooms above `store` catch it, and one line of it for people."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg

from vector_pipeline.errors import DatabaseError, DatabaseUnavailable
from vector_pipeline.redaction import hide

PostgresError = psycopg.Error
"""Any error of Postgres or of the connection."""

ConnectionLost = psycopg.OperationalError
"""The server is away, restarts, or ended the session."""

PASSING = (DatabaseUnavailable, psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""Errors that may pass: the server is away, is starting, or became a standby, which only reads."""

_AWAY = "it went away while it was asked; what was done is kept, and the next run continues from there"

# What to do, by SQLSTATE or its class, and whether the error is temporary.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_ADVICE: dict[str, tuple[str, bool]] = {
    "25006": ("it only reads: name the primary in DATABASE_URL, or have it take writes again", True),
    "42501": ("let the owner grant the right to this role, or name the owner's role in DATABASE_URL", False),
    "57014": ("a person or a time limit ended the statement: try again", True),
    "42P01": ("tables of the pipeline are missing, as after a restore of a part: restore the rest", False),
    "42703": ("a table is not as this version made it: is an older version of vector-pipeline at work here?", False),
    "42883": ("a function that the pipeline needs is missing, as after a restore of a part: restore the rest", False),
    "3F000": ("a schema that the pipeline needs is missing, as after a restore of a part: restore the rest", False),
    "26000": ("a proxy between mixes sessions: connect to Postgres itself, or to a proxy that pools sessions", False),
    "42P05": ("a proxy between mixes sessions: connect to Postgres itself, or to a proxy that pools sessions", False),
    "53100": ("the server has no room left on its disk: make room", True),
    "53200": ("the server has too little memory for it: try again, or give it more", True),
    "53300": ("too many connections are open: close some, or raise max_connections", True),
    "55P03": ("another transaction holds a lock: see pg_stat_activity, and try again", True),
    "40": ("it met another transaction: try again", True),
    "53": ("the server lacks something: see its log", True),
    "57": (_AWAY, True),
    "58": ("the server met an error of its system: see its log", True),
    "XX": ("the server met an error of its own: see its log", False),
}


def explain(error: psycopg.Error, place: str, secrets: Iterable[str] = ()) -> DatabaseError:
    """An error of Postgres as one line with what to do; DatabaseUnavailable if it is temporary."""
    message = " ".join(hide(error.diag.message_primary or str(error), secrets).split())[:200]
    state = error.sqlstate or ""
    advice, passes = _ADVICE.get(state) or _ADVICE.get(state[:2]) or ("", False)
    if not advice and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        advice, passes = _AWAY, True
    kind = DatabaseUnavailable if passes else DatabaseError
    return kind(f"Postgres at {place} reports: {message or type(error).__name__}; {advice or f'SQLSTATE {state}'}")


def is_passing(error: BaseException) -> bool:
    """Whether trying again on a new connection may help: the server is away, restarts, only reads, or is full."""
    if isinstance(error, DatabaseUnavailable):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate
    if state is None:
        # The connection itself: lost, or closed while something waited for it.
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in ("08", "40", "53") or state in ("25006", "57P01", "57P02", "57P03", "57P05", "58000", "58030")
