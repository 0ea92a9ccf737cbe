"""Dagster's own SQLite storage with connections that are kept open. Files and statements are the same.

Dagster 1.13 opens an engine and a connection for each of the 300 statements of a small `ingest`, which took nearly a
third of its time. It also creates the file of each run table by table, and compares the revision of each file with all
that there ever were, which took another third; here the file of a run is a copy of an empty one. Runs in our own process
use this module. The daemon and the UI use Dagster's own classes on these files.

The base classes are not part of Dagster's public API. Importing this module raises ImportError if a version of Dagster
lacks what is overridden here, and `ingest` then uses Dagster's own storage.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

for _overridden in (
    (SqliteEventLogStorage, "run_connection"),
    (SqliteEventLogStorage, "index_connection"),
    (SqliteEventLogStorage, "conn_string_for_shard"),
    (SqliteEventLogStorage, "path_for_shard"),
    (SqliteRunStorage, "connect"),
    (SqliteRunStorage, "from_local"),
):
    if not hasattr(*_overridden):
        raise ImportError(f"this Dagster's {_overridden[0].__name__} has no {_overridden[1]}")

# How long a statement waits for one of another process; the daemon and the UI write to the same files.
BUSY_SECONDS = 30.0

# The number of run files that are kept open. The runs of one `ingest` follow one another and may be thousands.
RUNS_KEPT = 3


class KeptEventLog(SqliteEventLogStorage):
    """The event log: one file for each run, and one for queries across runs."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._kept: dict[str, Engine] = {}
        self._one_at_a_time = threading.Lock()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Create it from Dagster's configuration."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def run_connection(self, run_id: str | None = None) -> Iterator[Connection]:
        """A transaction on a run's file."""
        assert run_id is not None
        with self._one_at_a_time:
            if run_id not in self._kept:
                self._make_tables(run_id)
                self._kept[run_id] = _engine(self.conn_string_for_shard(run_id))
                self._close_oldest()
            with self._kept[run_id].begin() as connection:
                yield connection

    def _make_tables(self, run_id: str) -> None:
        """Create the file of a run with its tables, unless it exists: as a copy of an empty one."""
        path = Path(self.path_for_shard(run_id))
        if _has_tables(path):
            return
        # Dagster takes all names that end in .db for runs. Another version of it may need other tables.
        empty = path.with_name(f"empty-{dg.__version__}")
        if run_id != INDEX_SHARD_NAME and not path.exists() and empty.exists():
            _write(path, empty.read_bytes())
            return
        with super().run_connection(run_id):
            pass  # the file has its tables now
        if run_id != INDEX_SHARD_NAME and not empty.exists():
            with closing(sqlite3.connect(path)) as connection:
                if not connection.execute("SELECT EXISTS (SELECT 1 FROM event_logs)").fetchone()[0]:
                    _write(empty, connection.serialize())

    def _close_oldest(self) -> None:
        runs = [shard for shard in self._kept if shard != INDEX_SHARD_NAME]
        for run_id in runs[:-RUNS_KEPT]:
            self._kept.pop(run_id).dispose()

    def index_connection(self) -> Any:
        """A transaction on the file across runs."""
        return self.run_connection(INDEX_SHARD_NAME)

    def dispose(self) -> None:
        """Close all."""
        for engine in self._kept.values():
            engine.dispose()
        super().dispose()


class KeptRunStorage(SqliteRunStorage):
    """Runs, their tags and the keys of partitions' backfills."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._kept = _engine(conn_string)
        super().__init__(conn_string, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Create it from Dagster's configuration."""
        return cls.from_local(inst_data=inst_data, **config_value)

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        """Create it, and its file unless that exists."""
        path = Path(base_dir) / "runs.db"
        if _has_tables(path):
            return cls(create_db_conn_string(base_dir, "runs"), inst_data)
        return super().from_local(base_dir, inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A transaction."""
        with self._kept.begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close it."""
        self._kept.dispose()
        super().dispose()


def _has_tables(path: Path) -> bool:
    """Whether Dagster has created the tables of a file and noted their revision: it then leaves the file as it is."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM alembic_version").fetchone() is not None
    except sqlite3.Error:
        return False


def _write(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all. If another process was first, its file stays."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()


def _engine(address: str) -> Engine:
    # Threads may use a connection one after another; QueuePool ensures that.
    options = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(address, poolclass=QueuePool, connect_args=options)
    event.listen(engine, "connect", _do_not_wait_for_the_disk)
    return engine


def _do_not_wait_for_the_disk(connection: sqlite3.Connection, _: object) -> None:
    """Let commits return before they are on disk.

    With a write-ahead log, a loss of power takes no more than the last events of a run
    (https://sqlite.org/pragma.html#pragma_synchronous). What is loaded is in Postgres.
    """
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        connection.execute("PRAGMA synchronous = NORMAL")
