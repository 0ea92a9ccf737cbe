"""What the last scan of each root left out of the table: such files have no row in the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.manifest import source_key


@dataclass(frozen=True, slots=True)
class LastScan:
    """What a root's last scan left out.

    `seconds` is the time it took. `withheld` deletions wait for confirmation; `waiting` files were still being written;
    `passed_over` could not be followed, entered or named. `names` are the first of those two, each with its reason;
    `not_read` are the files that no reader is for, by suffix.
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
) -> None:
    """Keep what a scan left out, in place of what the one before it did."""
    connection.execute(
        "INSERT INTO scans (root_key, root, seconds, withheld, waiting, passed_over, names, not_read) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (root_key) DO UPDATE SET ended_at = excluded.ended_at, seconds = excluded.seconds, "
        "withheld = excluded.withheld, waiting = excluded.waiting, passed_over = excluded.passed_over, "
        "names = excluded.names, not_read = excluded.not_read",
        (
            source_key(root, ""),
            root,
            seconds,
            withheld,
            waiting,
            passed_over,
            Jsonb(list(names)),
            Jsonb(dict(not_read)),
        ),
    )


def last_scans(connection: Connection) -> list[LastScan]:
    """The last scan of each root, by root."""
    with connection.cursor(row_factory=class_row(LastScan)) as cursor:
        cursor.execute(
            "SELECT root, ended_at, seconds, withheld, waiting, passed_over, names, not_read FROM scans ORDER BY root"
        )
        return cursor.fetchall()


def forget_scan(connection: Connection, root: str) -> None:
    """Remove what is kept of a root's last scan."""
    connection.execute("DELETE FROM scans WHERE root_key = %s", (source_key(root, ""),))
