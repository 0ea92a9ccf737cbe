"""The batched insert: whole files, only what an arrival owns, nothing touched that did not change."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.rows import delete_sources, load_sources
from vector_pipeline_tests.support.corpus import embed, key_of, load, own, rows_of, scalar, space_of


def _table(connection: Connection, path: str = "a.txt") -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT id, chunk_index, page_content, created_at, updated_at, xmin FROM document_chunks "
        "JOIN chunks USING (id, chunk_index, page_content, created_at, updated_at) "
        "WHERE document_chunks.source = %s ORDER BY chunk_index".replace("xmin", "chunks.xmin::text"),
        (path,),
    ).fetchall()


def test_a_loaded_file_is_seen_through_the_view(connection: Connection) -> None:
    outcome = load(connection, "A1", {"a.txt": ["one", "two"], "b.txt": ["two"]})
    assert (outcome.rows, outcome.written, sorted(outcome.loaded)) == (3, 3, ["a.txt", "b.txt"])
    rows = connection.execute("SELECT source, page_content FROM document_chunks ORDER BY 1, 2").fetchall()
    assert rows == [("a.txt", "one"), ("a.txt", "two"), ("b.txt", "two")]


def test_a_second_load_writes_nothing(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"]})
    before = _table(connection)
    assert load(connection, "A2", {"a.txt": ["one", "two"]}).written == 0
    assert _table(connection) == before


def test_an_edit_writes_one_row_and_leaves_the_others_their_ids(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two", "three"]})
    before = _table(connection)
    outcome = load(connection, "A2", {"a.txt": ["one", "TWO", "three"]}, "2")
    assert outcome.written == 2  # one row out, one in
    after = _table(connection)
    assert [after[0], after[2]] == [before[0], before[2]]
    assert after[1][0] != before[1][0]


def test_rows_behind_an_inserted_paragraph_keep_id_and_created_at(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"]})
    before = _table(connection)
    load(connection, "A2", {"a.txt": ["zero", "one", "two"]}, "2")
    after = _table(connection)
    assert [row[2] for row in after] == ["zero", "one", "two"]
    assert [(row[0], row[3]) for row in after[1:]] == [(row[0], row[3]) for row in before]


def test_a_text_that_stands_twice_in_a_file_has_two_rows(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["same", "other", "same"]})
    assert len({row[0] for row in _table(connection)}) == 3


def test_an_old_arrival_brings_back_nothing(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["old"]})
    load(connection, "A2", {"a.txt": ["new"]}, "2")
    outcome = load_sources(connection, "A1", [rows_of("a.txt", ["old"])])
    assert outcome.skipped == {"a.txt": "belongs to a later arrival"}
    assert [row[2] for row in _table(connection)] == ["new"]


def test_a_file_that_changed_since_it_was_read_is_left(connection: Connection) -> None:
    space_of(connection)
    own(connection, "A1", ["a.txt"], "2")
    embed(connection, ["one"])
    outcome = load_sources(connection, "A1", [rows_of("a.txt", ["one"], "1")])
    assert outcome.skipped == {"a.txt": "changed since it was read"}


def test_a_file_of_which_a_vector_is_missing_stays_pending_and_the_rest_is_loaded(connection: Connection) -> None:
    space_of(connection)
    own(connection, "A1", ["a.txt", "b.txt"])
    embed(connection, ["one"])
    outcome = load_sources(connection, "A1", [rows_of("a.txt", ["one", "two"]), rows_of("b.txt", ["one"])])
    assert outcome.loaded == ["b.txt"]
    assert list(outcome.missing_vectors) == ["a.txt"]
    assert scalar(connection, "SELECT status FROM source_files WHERE path = 'a.txt'") == "pending"
    assert scalar(connection, "SELECT count(*) FROM chunks c JOIN source_files USING (source_key)") == 1


def test_a_deleted_file_goes_and_a_returned_one_does_not(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"], "b.txt": ["one"]})
    own(connection, "A2", ["a.txt", "b.txt"], gone=True)
    own(connection, "A3", ["b.txt"])
    keys = [uuid.UUID(bytes=key_of(path)) for path in ("a.txt", "b.txt")]
    assert delete_sources(connection, "A2", keys) == 2
    assert [row[0] for row in connection.execute("SELECT source FROM document_chunks")] == ["b.txt"]
    assert scalar(connection, "SELECT status FROM source_files WHERE path = 'a.txt'") == "deleted"


def test_a_batch_that_fails_leaves_every_file_as_it_was(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    own(connection, "A2", ["a.txt", "b.txt"], "2")
    embed(connection, ["new", "bad"])
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        load_sources(
            connection,
            "A2",
            [rows_of("a.txt", ["new"], "2"), rows_of("b.txt", ["bad"], "2", metadata='{"a": "\\u0000"}')],
        )
    assert [row[2] for row in _table(connection)] == ["one"]


def test_readers_see_a_file_as_it_was_or_as_it_is_while_two_runs_reload_the_same_files(database: Database) -> None:
    versions = [[f"version {v} part {i}" for i in range(8)] for v in range(2)]
    paths = [f"{i}.txt" for i in range(5)]
    with database.connect() as connection:
        for version in versions:
            load(connection, "A1", {path: version for path in paths})
    failures: list[str] = []
    stop = threading.Event()

    def write(seed: int) -> None:
        with database.connect() as own_connection:
            for turn in range(15):
                files = paths if (seed + turn) % 2 else paths[::-1]
                load_sources(own_connection, "A1", [rows_of(p, versions[(seed + turn) % 2]) for p in files])

    def read() -> None:
        with database.connect() as own_connection:
            while not stop.is_set():
                rows = own_connection.execute(
                    "SELECT source, count(*), count(DISTINCT substr(page_content, 1, 9)) FROM document_chunks "
                    "GROUP BY source"
                ).fetchall()
                failures.extend(f"mixed: {row}" for row in rows if row[1:] != (8, 1))
                if len(rows) != len(paths):
                    failures.append(f"{len(rows)} files")

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    stop.set()
    reader.join()
    assert failures == []


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=st.lists(st.lists(st.sampled_from("abcdefg"), max_size=8), min_size=1, max_size=4))
def test_after_any_edits_the_table_holds_the_last_version(connection: Connection, versions: list[list[str]]) -> None:
    for version in versions:
        load(connection, "A1", {"a.txt": version})
    if not any(versions):
        return  # nothing was ever embedded, so there is no view
    assert [row[2] for row in _table(connection)] == versions[-1]
