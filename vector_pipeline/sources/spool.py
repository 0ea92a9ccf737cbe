"""Pages of a listing, kept in a temporary file: memory does not grow with the number of files."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import orjson


class Entry(NamedTuple):
    """A file in a listing: its complete key, its size in bytes, its etag, and its time of change (since the epoch)."""

    key: str
    size: int
    tag: str
    modified: float


class Place(NamedTuple):
    """The place of a page in the spool, in bytes."""

    offset: int
    length: int


class Spool:
    """A temporary file without a name. Any thread may add pages to it. Use it as a context manager."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._lock = threading.Lock()
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, entries: Iterable[Entry]) -> Place:
        """Add a page. Raises OSError if the disk is full."""
        data = zlib.compress(orjson.dumps([tuple(entry) for entry in entries]), 1)
        with self._lock:
            place = Place(self._end, len(data))
            self._file.seek(place.offset)
            self._file.write(data)
            self._end += place.length
        return place

    def read(self, place: Place) -> list[Entry]:
        """The entries of a page."""
        with self._lock:
            self._file.seek(place.offset)
            data = self._file.read(place.length)
        return [Entry(*entry) for entry in orjson.loads(zlib.decompress(data))]


def sorted_apart(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries in the order of their keys' code points, sorted in a temporary file. Of one key the last entry counts."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(str(Path(folder, "listing")))) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE listing (key TEXT PRIMARY KEY, size, tag, modified) WITHOUT ROWID")
        # SQLite compares text by its bytes in UTF-8, which have the order of the code points.
        database.executemany("INSERT OR REPLACE INTO listing VALUES (?, ?, ?, ?)", entries)
        for row in database.execute("SELECT key, size, tag, modified FROM listing ORDER BY key"):
            yield Entry(*row)
