"""The checks on whether every file is loaded: green during loads, red or yellow for what needs a person."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from vector_pipeline.defs.file_checks import FileState, all_files_loaded, evaluations, no_files_rejected
from vector_pipeline.defs.names import Names
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.failed_arrivals import fail_attempt
from vector_pipeline_tests.support.corpus import load, own


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(role="test") as connection:
        yield connection


def evaluated(connection: Connection) -> dg.AssetCheckResult:
    return all_files_loaded(connection, FileState.read(connection))


def files(result: dg.AssetCheckResult) -> list[tuple[object, ...]]:
    table = result.metadata["files"]
    assert isinstance(table, dg.TableMetadataValue)
    return [tuple(record.data.values()) for record in table.records]


def reject(connection: Connection, path: str, reason: str) -> None:
    connection.execute("UPDATE source_files SET status = 'rejected', error = %s WHERE path = %s", (reason, path))


def test_an_empty_table_and_a_loaded_one_are_green(connection: Connection) -> None:
    assert evaluated(connection).passed
    load(connection, "A1", {"a.txt": ["one"], "b.txt": ["two"]})
    found = evaluated(connection)
    assert (found.passed, found.description) == (True, "2 files loaded, 0 pending, 0 rejected")
    assert files(found) == []


def test_files_that_are_pending_for_a_moment_are_green_and_listed(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    own(connection, "A2", ["b.txt"])
    found = evaluated(connection)
    assert (found.passed, found.description) == (True, "1 file loaded, 1 pending, 0 rejected")
    assert files(found) == [("b.txt", "pending", "")]


def test_files_that_no_run_works_on_for_an_hour_are_a_warning(connection: Connection) -> None:
    own(connection, "A1", ["a.txt", "b.txt"])
    connection.execute("UPDATE source_files SET updated_at = now() - interval '61 minutes' WHERE path = 'a.txt'")
    found = evaluated(connection)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == "0 files loaded, 2 pending (1 late), 0 rejected"


def test_failed_loads_are_an_error_with_their_reason_also_beside_rejected_files(connection: Connection) -> None:
    own(connection, "A1", ["a.txt", "b.txt"])
    fail_attempt(connection, "A1", "OPENAI_API_KEY is refused", "account")
    own(connection, "A2", ["c.txt"])
    reject(connection, "c.txt", "is empty")
    found = evaluated(connection)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.description == "0 files loaded, 2 pending (2 of them failed), 1 rejected"
    assert files(found) == [
        ("a.txt", "pending", "OPENAI_API_KEY is refused"),
        ("b.txt", "pending", "OPENAI_API_KEY is refused"),
        ("c.txt", "rejected", "is empty"),
    ]


def test_rejected_files_are_a_warning_in_both_checks(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    own(connection, "A2", ["b.txt"])
    reject(connection, "b.txt", "is empty; add some text")
    state = FileState.read(connection)
    for found in (all_files_loaded(connection, state), no_files_rejected(connection, state)):
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert files(found) == [("b.txt", "rejected", "is empty; add some text")]
    connection.execute("UPDATE source_files SET status = 'deleted' WHERE path = 'b.txt'")
    state = FileState.read(connection)
    assert no_files_rejected(connection, state).passed
    assert no_files_rejected(connection, state).description == "every file can be read"


def test_files_of_several_roots_are_named_with_their_root(connection: Connection) -> None:
    own(connection, "A1", ["a.txt", "b.txt"])
    assert [name for name, *_ in files(evaluated(connection))] == ["a.txt", "b.txt"]
    connection.execute("UPDATE source_files SET root = '/other' WHERE path = 'b.txt'")
    assert [name for name, *_ in files(evaluated(connection))] == ["/corpus/a.txt", "/other/b.txt"]


def test_a_sensor_reports_the_same_results_on_the_assets_of_its_pipeline(connection: Connection) -> None:
    own(connection, "A1", ["a.txt"])
    fail_attempt(connection, "A1", "it went wrong")
    state = FileState.read(connection)
    found = {event.check_name: event for event in evaluations(connection, Names("law"), state)}
    assert {name: event.asset_key.path for name, event in found.items()} == {
        "all_files_loaded": ["law", "source_files"],
        "no_files_rejected": ["law", "documents"],
    }
    red, green = found["all_files_loaded"], found["no_files_rejected"]
    assert (red.passed, red.severity, green.passed) == (False, dg.AssetCheckSeverity.ERROR, True)
    assert red.description == all_files_loaded(connection, state).description
    assert red.metadata["files_failed"].value == 1
