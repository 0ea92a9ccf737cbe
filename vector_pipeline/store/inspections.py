"""Check that manifest and table agree: for changes since the last inspection, and at intervals for all files.

What an inspection of the whole found is kept, with its time. While it finds something wrong the whole is looked at each
time, so that it is seen at once when that has been set right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.counts import CHUNKS, recount
from vector_pipeline.store.locks import Lock, lock_in_transaction

# The interval of full inspections, which read every row.
WHOLE_EVERY_SECONDS = 86_400.0

MISMATCHES_SHOWN = 100

ROWS = "rows"

# A file that was loaded during the last inspection is checked again.
OVERLAP = "10 minutes"


@dataclass(frozen=True, slots=True)
class Inspection:
    """The result of the last full inspection, as JSON."""

    made_at: datetime
    age_seconds: float
    found: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowsFound:
    """Rows of deleted files, and loaded files with another number of rows than the manifest says.

    Each mismatch is (path, rows by the manifest, rows in the table). `whole` says whether all files were looked at, or
    those alone that changed since the last look.
    """

    orphans: int = 0
    mismatches: list[tuple[str, int, int]] = field(default_factory=list)
    whole: bool = False

    @property
    def is_sound(self) -> bool:
        """Whether no difference was found."""
        return not self.orphans and not self.mismatches


def last_inspection(connection: Connection, name: str) -> Inspection | None:
    """The last inspection with a name."""
    with connection.cursor(row_factory=class_row(Inspection)) as cursor:
        return cursor.execute(
            "SELECT made_at, extract(epoch FROM pg_catalog.now() - made_at)::float8 AS age_seconds, found "
            "FROM inspections WHERE name = %s",
            (name,),
        ).fetchone()


def note_inspection(connection: Connection, name: str, found: Mapping[str, Any]) -> None:
    """Store the result of an inspection. It replaces the earlier one."""
    connection.execute(
        "INSERT INTO inspections (name, found) VALUES (%s, %s) "
        "ON CONFLICT (name) DO UPDATE SET made_at = pg_catalog.now(), found = excluded.found",
        (name, Jsonb(dict(found))),
    )


def inspect_rows(connection: Connection, *, whole_every_seconds: float = WHOLE_EVERY_SECONDS) -> RowsFound:
    """Compare the table with the manifest: files whose arrivals ended since the last inspection, or all if it is due."""
    whole = last_inspection(connection, ROWS)
    partly = last_inspection(connection, f"{ROWS} that changed")
    # The age is negative if the server's clock was set back.
    if whole is None or not 0 <= whole.age_seconds <= whole_every_seconds or not whole.found["sound"]:
        found = _all_rows(connection)
        note_inspection(connection, ROWS, {"sound": found.is_sound})
    else:
        since = max(whole.made_at, partly.made_at) if partly else whole.made_at
        found = _changed_rows(connection, since)
        if not found.is_sound:
            note_inspection(connection, ROWS, {"sound": False})
    note_inspection(connection, f"{ROWS} that changed", asdict(found))
    return found


def _all_rows(connection: Connection) -> RowsFound:
    with connection.transaction():
        # No load runs at the same time, so a corrected figure is correct.
        lock_in_transaction(connection, Lock.LOADS)
        recount(connection, CHUNKS)
    orphans = connection.execute(
        "SELECT pg_catalog.count(*) FROM chunks c WHERE NOT EXISTS (SELECT FROM source_files s WHERE "
        "s.source_key = c.source_key AND s.status <> 'deleted')"
    ).fetchone()
    mismatches = connection.execute(
        "SELECT s.path, s.chunks, pg_catalog.count(c.id) FROM source_files s LEFT JOIN chunks c USING (source_key) "
        "WHERE s.status = 'loaded' GROUP BY s.source_key HAVING s.chunks <> pg_catalog.count(c.id) "
        "ORDER BY s.path LIMIT %s",
        (MISMATCHES_SHOWN,),
    ).fetchall()
    return RowsFound(orphans[0] if orphans else 0, mismatches, whole=True)


def _changed_rows(connection: Connection, since: datetime) -> RowsFound:
    rows = connection.execute(
        "SELECT s.path, s.status, s.chunks, "
        "(SELECT pg_catalog.count(*) FROM chunks c WHERE c.source_key = s.source_key) "
        "FROM arrivals a JOIN source_files s ON s.arrival = a.key "
        "WHERE a.finished_at > %s - %s::interval AND s.status IN ('loaded', 'deleted') ORDER BY s.path",
        (since, OVERLAP),
    ).fetchall()
    mismatches = [(path, said, found) for path, status, said, found in rows if status == "loaded" and said != found]
    return RowsFound(sum(row[3] for row in rows if row[1] == "deleted"), mismatches[:MISMATCHES_SHOWN])
