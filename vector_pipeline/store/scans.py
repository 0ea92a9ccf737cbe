"""What the last scan of each root left out. Such files have no row in the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.manifest import source_key

Ahead = dict[str, tuple[str, float]]
"""Paths of files to how they looked, and since when they have looked so (seconds since the epoch)."""


@dataclass(frozen=True, slots=True)
class LastScan:
    """What the last scan of a root left out.

    `seconds` is the duration of the scan. `withheld` is the number of deletions that wait for confirmation, `waiting`
    that of files that were still being written, and `passed_over` that of links, folders and names that it could not
    follow, enter or use. `names` holds the first of the last two groups with their reasons. `not_read` counts the files
    without a reader, by suffix.
    """

    root: str
    ended_at: datetime
    seconds: float
    withheld: int
    waiting: int
    passed_over: int
    names: list[tuple[str, str]]
    not_read: dict[str, int]


def note_scan(
    connection: Connection,
    root: str,
    *,
    seconds: float,
    withheld: int,
    waiting: int,
    passed_over: int,
    names: Sequence[tuple[str, str]],
    not_read: Mapping[str, int],
    ahead: Ahead,
) -> None:
    """Store what a scan left out. This replaces the entry of the scan before."""
    connection.execute(
        "INSERT INTO scans (root_key, root, seconds, withheld, waiting, passed_over, names, not_read, ahead) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (root_key) DO UPDATE SET ended_at = excluded.ended_at, seconds = excluded.seconds, "
        "withheld = excluded.withheld, waiting = excluded.waiting, passed_over = excluded.passed_over, "
        "names = excluded.names, not_read = excluded.not_read, ahead = excluded.ahead",
        (
            source_key(root, ""),
            root,
            seconds,
            withheld,
            waiting,
            passed_over,
            Jsonb(list(names)),
            Jsonb(dict(not_read)),
            Jsonb(dict(ahead)),
        ),
    )


def files_ahead(connection: Connection, root: str) -> Ahead:
    """The files of a root that its last scan found changed at a time ahead of its clock."""
    row = connection.execute("SELECT ahead FROM scans WHERE root_key = %s", (source_key(root, ""),)).fetchone()
    return {path: (str(fingerprint), float(since)) for path, (fingerprint, since) in row[0].items()} if row else {}


def last_scans(connection: Connection) -> list[LastScan]:
    """The last scan of each root, in the order of the roots."""
    with connection.cursor(row_factory=class_row(LastScan)) as cursor:
        cursor.execute(
            "SELECT root, ended_at, seconds, withheld, waiting, passed_over, names, not_read FROM scans ORDER BY root"
        )
        return cursor.fetchall()


def forget_scan(connection: Connection, root: str) -> None:
    """Remove the entry of a root's last scan."""
    connection.execute("DELETE FROM scans WHERE root_key = %s", (source_key(root, ""),))
