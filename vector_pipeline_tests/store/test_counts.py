"""Figures of the whole are what counting gives, whatever changed the tables."""

from __future__ import annotations

import threading
import uuid

import pytest
from psycopg import sql

from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.counts import CHUNKS, FOLDED_FROM, count_rows, fold
from vector_pipeline.store.fencing import take_over
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.rows import delete_sources
from vector_pipeline.store.space import active_space
from vector_pipeline.store.spaces import drop_space, start_space
from vector_pipeline.store.sweep import sweep
from vector_pipeline_tests.support.corpus import embed, key_of, load, own, scalar

pytestmark = pytest.mark.slow


def assert_right(connection: Connection) -> None:
    space = active_space(connection)
    for table in (CHUNKS, *((space.embeddings, space.landing) if space else ())):
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        assert row is not None
        assert count_rows(connection, table) == row[0], table
    by_status = connection.execute("SELECT status, count(*) FROM source_files GROUP BY 1").fetchall()
    counts = manifest.count_files(connection)
    assert {s: n for s in ("loaded", "pending", "rejected", "deleted") if (n := getattr(counts, s))} == dict(by_status)
    present = "SELECT count(*) FROM source_files WHERE root = '/corpus' AND status <> 'deleted' AND NOT gone"
    assert manifest.count_present(connection, "/corpus") == scalar(connection, present)


def texts(start: int, end: int) -> list[str]:
    return [f"text {number}" for number in range(start, end)]


def test_figures_follow_every_change(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a": texts(0, 60), "b": texts(40, 120)})
    assert_right(connection)
    embed(connection, texts(0, 10))  # known already
    maintain_index(database, worth=50)  # builds
    assert_right(connection)
    load(connection, "A2", {"a": texts(0, 40), "c": texts(200, 220)}, "2")
    maintain_index(database, worth=50)  # moves
    assert_right(connection)
    own(connection, "A3", ["b"], gone=True)
    delete_sources(connection, "A3", [uuid.UUID(bytes=key_of("b"))])
    assert sweep(connection, 0) > 0
    assert_right(connection)
    own(connection, "A4", ["a", "d"], "3")
    assert_right(connection)
    assert manifest.mark_stale_pending(connection, ["p2"]) == 1
    assert_right(connection)
    connection.execute("DELETE FROM source_files WHERE path = 'd'")
    fold(connection)
    assert_right(connection)


def test_rows_that_a_person_deletes_by_hand_are_counted_too(connection: Connection) -> None:
    load(connection, "A1", {"a": texts(0, 60), "b": texts(40, 120)})
    connection.execute("DELETE FROM chunks WHERE source = 'a'")
    assert_right(connection)
    load(connection, "A2", {"a": texts(0, 60)}, "2")
    assert_right(connection)
    connection.execute("TRUNCATE chunks")
    assert_right(connection)


def test_many_changes_become_one_row_and_say_the_same(connection: Connection) -> None:
    for number in range(FOLDED_FROM):
        load(connection, "A1", {f"{number}": ["one"]})
    before = manifest.count_files(connection)
    fold(connection)
    assert scalar(connection, "SELECT count(*) FROM row_counts") == 2
    assert scalar(connection, "SELECT count(*) FROM file_counts") == 1
    assert manifest.count_files(connection) == before
    assert_right(connection)


def test_figures_are_right_after_loads_and_folds_side_by_side(database: Database, connection: Connection) -> None:
    load(connection, "A0", {"first": ["one"]})
    ended = threading.Event()

    def folding() -> None:
        with database.connect() as own_connection:
            while not ended.is_set():
                fold(own_connection)

    def loading(name: str) -> None:
        with database.connect() as own_connection:
            for number in range(80):
                load(own_connection, name, {f"{name} {number}": [f"{name} text {number}"]})

    folder = threading.Thread(target=folding)
    loaders = [threading.Thread(target=loading, args=(f"A{number}",)) for number in (1, 2)]
    for thread in (folder, *loaders):
        thread.start()
    for thread in loaders:
        thread.join()
    ended.set()
    folder.join()
    assert_right(connection)


def test_a_space_that_is_dropped_leaves_no_figures(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a": ["one"]})
    other = start_space(connection, "other-model", 8)
    embed(connection, ["one"], other)
    drop_space(connection, other.name)
    assert scalar(connection, "SELECT count(*) FROM row_counts WHERE relation LIKE '%other%'") == 0


def test_stages_of_an_arrival_are_named_once(connection: Connection) -> None:
    load(connection, "A1", {"a": ["one"]})
    manifest.finish_attempt(connection, "A1")
    done = manifest.finished_arrivals(connection, 0)
    assert [owner.arrival for owner in done] == ["A1"]
    take_over(connection, "A1")  # by a run that writes them anew
    manifest.note_stages_removed(connection, done)
    done = manifest.finished_arrivals(connection, 0)
    assert [owner.arrival for owner in done] == ["A1"]
    manifest.note_stages_removed(connection, done)
    assert manifest.finished_arrivals(connection, 0) == []


def test_files_that_are_open_are_listed_oldest_arrivals_first(connection: Connection) -> None:
    own(connection, "A2", ["b", "c"])
    own(connection, "A1", ["z"])
    assert [file.path for file in manifest.files_with_status(connection, "pending", limit=2)] == ["b", "z"]
    assert [file.path for file in manifest.files_with_status(connection, "pending", arrival="A2")] == ["b", "c"]
