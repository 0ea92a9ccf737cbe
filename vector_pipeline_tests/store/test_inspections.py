"""Rows that are missing or left over are noticed: of what changed at once, of the rest when all are looked at."""

from __future__ import annotations

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.counts import CHUNKS, count_rows
from vector_pipeline.store.inspections import inspect_rows
from vector_pipeline.store.manifest import finish_attempt
from vector_pipeline_tests.support.corpus import load


def test_a_table_that_lost_rows_is_noticed(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"]})
    assert inspect_rows(connection).is_sound
    connection.execute("DELETE FROM chunks WHERE chunk_index = 1")
    assert inspect_rows(connection).is_sound  # the file did not change, and the whole was just looked at
    assert inspect_rows(connection, whole_every_seconds=0).mismatches == [("a.txt", 2, 1)]
    assert count_rows(connection, CHUNKS) == 1
    connection.execute("UPDATE source_files SET status = 'deleted'")
    found = inspect_rows(connection)  # the whole again, for as long as something is wrong
    assert (found.whole, found.orphans, found.mismatches) == (True, 1, [])
    connection.execute("DELETE FROM chunks")
    assert inspect_rows(connection).is_sound
    assert not inspect_rows(connection).whole


def test_files_that_were_just_loaded_or_deleted_are_looked_at(connection: Connection) -> None:
    assert inspect_rows(connection).whole
    load(connection, "A1", {"a.txt": ["one", "two"], "b.txt": ["three"]})
    finish_attempt(connection, "A1")
    connection.execute("DELETE FROM chunks WHERE source = 'a.txt' AND chunk_index = 1")
    connection.execute("UPDATE source_files SET status = 'deleted' WHERE path = 'b.txt'")
    found = inspect_rows(connection)
    assert (found.whole, found.orphans, found.mismatches) == (False, 1, [("a.txt", 2, 1)])
