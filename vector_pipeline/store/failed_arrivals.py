"""Arrivals whose last run failed: the reason, and the time of the next attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import class_row

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.fencing import OWNED, numbered

Failure = Literal["passing", "account", "other"]
"""What can be done about a failure: `passing` is temporary, `account` is a refused key, model or quota, and for
`other` a person has to look."""

# Temporary failures are tried again after 1, 2, 4 … minutes, at most after an hour; others at least once a day.
MAX_MINUTES = {"passing": 60, "account": 1_440, "other": 1_440}


@dataclass(frozen=True, slots=True)
class FailedArrival:
    """An arrival that owns pending files and whose last run failed."""

    arrival: str
    files: int
    """The number of its pending files."""
    error: str
    failure: Failure
    failed_at: datetime
    failed_run: str | None
    retry_at: datetime
    is_due: bool
    """Whether retry_at has passed, by the server's clock. A time further ahead than any wait was set by a clock that
    has been set back since, and counts as passed."""


def fail_attempt(
    connection: Connection, arrival: str, error: str, failure: Failure = "other", *, run: str | None = None
) -> None:
    """Record why a run of an arrival failed, also at its pending files, and set the time of the next attempt.

    If the connection's run no longer owns the arrival, nothing is recorded.
    """
    error = error.replace("\x00", " ")[:2_000]  # Postgres stores every character but this one
    with connection.transaction():
        noted = connection.execute(
            "UPDATE arrivals SET error = %(error)s, failure = %(failure)s, failed_run = %(run)s, "
            "failed_at = pg_catalog.clock_timestamp(), retry_at = pg_catalog.clock_timestamp() + "
            "least(%(longest)s::float8, "
            "pg_catalog.power(2::float8, (least(greatest(attempts, 1), 12) - 1)::float8)) * interval '1 minute' "
            f"WHERE key = %(arrival)s AND {OWNED}",
            {
                "error": error,
                "failure": failure,
                "run": run,
                "longest": MAX_MINUTES[failure],
                **numbered(connection, arrival),
            },
        ).rowcount
        if not noted:
            return  # another run owns it now
        connection.execute(
            "UPDATE source_files SET error = %s WHERE source_key IN (SELECT source_key FROM source_files "
            "WHERE arrival = %s AND status = 'pending' AND error IS DISTINCT FROM %s ORDER BY source_key FOR UPDATE)",
            (error, arrival, error),
        )


def failed_arrivals(connection: Connection, arrivals: Sequence[str] | None = None) -> list[FailedArrival]:
    """Arrivals with pending files whose last run failed, oldest first; among `arrivals`, or all."""
    with connection.cursor(row_factory=class_row(FailedArrival)) as cursor:
        cursor.execute(
            """
            SELECT a.key AS arrival, p.files::int, a.error, coalesce(a.failure, 'other') AS failure,
                   coalesce(a.failed_at, a.created_at) AS failed_at, a.failed_run,
                   coalesce(a.retry_at, a.created_at) AS retry_at,
                   coalesce(a.retry_at <= pg_catalog.clock_timestamp() OR a.retry_at > pg_catalog.clock_timestamp() +
                       CASE a.failure WHEN 'passing' THEN %(passing)s::float8 ELSE %(others)s::float8 END
                       * interval '1 minute', true) AS is_due
            FROM arrivals a
            JOIN (SELECT arrival, pg_catalog.count(*) AS files FROM source_files WHERE status = 'pending' GROUP BY 1) p
                 ON p.arrival = a.key
            WHERE a.error IS NOT NULL AND (%(arrivals)s::text[] IS NULL OR a.key = ANY(%(arrivals)s))
            ORDER BY a.key
            """,
            {
                "arrivals": None if arrivals is None else list(arrivals),
                "passing": MAX_MINUTES["passing"],
                "others": MAX_MINUTES["other"],
            },
        )
        return cursor.fetchall()


def waiting_files(connection: Connection, older_than_seconds: float) -> int:
    """The number of files that are pending for longer than that without a failure, because no run worked on them."""
    row = connection.execute(
        "SELECT pg_catalog.count(*) FROM source_files s JOIN arrivals a ON a.key = s.arrival WHERE s.status = 'pending' "
        "AND a.error IS NULL AND s.updated_at < pg_catalog.now() - %s::float8 * interval '1 second'",
        (older_than_seconds,),
    ).fetchone()
    return int(row[0]) if row else 0
