"""Dagster's SQLite files as runs in this process make them: what Dagster itself makes, and it reads them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline.local.instance import dagster_home, open_instance, open_instance_in_process
from vector_pipeline.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings.of(home=tmp_path / "home")


@dg.asset
def bees() -> None:
    pass


def materialize(instance: dg.DagsterInstance) -> str:
    result = dg.materialize([bees], instance=instance)
    assert result.success
    return result.run_id


def tables(path: Path) -> tuple[set[tuple[str, str]], list[str], str]:
    """What stands in a file: its tables and indexes, its revision, and its journal."""
    with closing(sqlite3.connect(path)) as connection:
        return (
            set(connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")),
            [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")],
            connection.execute("PRAGMA journal_mode").fetchone()[0],
        )


def runs(settings: Settings) -> Path:
    return dagster_home(settings) / "history" / "runs"


def test_the_file_of_a_run_is_what_dagster_makes_and_dagster_reads_it(home: Settings) -> None:
    with open_instance(home) as own:
        of_dagster = materialize(own)
    with open_instance_in_process(home) as kept:
        first, second = materialize(kept), materialize(kept)
    with open_instance_in_process(home) as kept:
        third = materialize(kept)
    expected = tables(runs(home) / f"{of_dagster}.db")
    assert expected[2] == "wal"
    for run in (first, second, third):
        assert tables(runs(home) / f"{run}.db") == expected
    with open_instance(home) as own:
        assert [run.run_id for run in own.get_runs()] == [third, second, first, of_dagster]
        assert {len(own.all_logs(run)) for run in (first, second, third)} == {len(own.all_logs(of_dagster))}
        latest = own.get_latest_materialization_event(bees.key)
        assert latest is not None
        assert latest.run_id == third


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that create something, of all connections that are opened during the test."""
    seen: list[str] = []
    connect = sqlite3.connect

    def connect_and_trace(*args: object, **kwargs: object) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)  # type: ignore[call-overload]
        connection.set_trace_callback(lambda text: seen.append(text) if text.lstrip().startswith("CREATE") else None)
        assert isinstance(connection, sqlite3.Connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_and_trace)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", connect_and_trace)
    return seen


def test_only_the_first_run_creates_tables(home: Settings, statements: list[str]) -> None:
    with open_instance_in_process(home) as kept:
        materialize(kept)
        assert statements
        statements.clear()
        materialize(kept)
    with open_instance_in_process(home) as kept:
        materialize(kept)
    assert statements == []
