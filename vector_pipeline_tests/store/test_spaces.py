"""Changing the model: a second space fills beside the first, and is switched to when nothing is missing."""

from __future__ import annotations

import threading

import psycopg
import pytest

from vector_pipeline.errors import ConfigurationError, DatabaseError, SpaceMismatch
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.rows import load_sources
from vector_pipeline.store.search.by_vector import search
from vector_pipeline.store.space import active_space, count_missing, filling_space, list_spaces
from vector_pipeline.store.spaces import drop_space, open_space, start_space, switch_space
from vector_pipeline_tests.support.corpus import embed, load, own, rows_of, scalar, vectors_of


def test_settings_of_another_model_are_refused_and_both_named(connection: Connection) -> None:
    open_space(connection, "text-embedding-3-small", 1_536)
    with pytest.raises(SpaceMismatch, match=r"text-embedding-3-large.*text-embedding-3-small"):
        open_space(connection, "text-embedding-3-large", 3_072)


def test_settings_of_another_model_are_refused_with_the_variables_that_help(connection: Connection) -> None:
    open_space(connection, "text-embedding-3-small", 1_536)
    with pytest.raises(
        SpaceMismatch, match=r"; set VECTOR_PIPELINE_MODEL=text-embedding-3-small to go on with them, or"
    ):
        open_space(connection, "text-embedding-3-large", 3_072)
    with pytest.raises(SpaceMismatch, match=r"; set VECTOR_PIPELINE_DIMENSIONS=1536 to go on with them, or"):
        open_space(connection, "text-embedding-3-small", 256)
    with pytest.raises(ConfigurationError, match=r"; set VECTOR_PIPELINE_MODEL to the model to change to"):
        start_space(connection, "text-embedding-3-small", 1_536)


def test_two_runs_that_open_the_first_space_at_once_open_the_same(database: Database) -> None:
    found: list[str] = []

    def open_it() -> None:
        with database.connect() as own_connection:
            found.append(open_space(own_connection, "m", 8).name)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_models_of_which_the_names_look_alike_get_tables_of_their_own(connection: Connection) -> None:
    first = open_space(connection, "org/model.v1", 8)
    second = start_space(connection, "org/model-v1", 8)
    assert first.embeddings != second.embeddings


def test_a_space_that_misses_vectors_is_not_switched_to(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"]})
    new = start_space(connection, "new-model", 24)
    embed(connection, ["one"], new)
    with pytest.raises(ConfigurationError, match="misses the vectors of 1 text;"):
        switch_space(connection, new.name, 0.95)


def test_there_and_back_again_and_dropped(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"]})
    old = active_space(connection)
    assert old is not None
    new = start_space(connection, "new-model", 24)
    assert filling_space(connection) == new
    embed(connection, ["one", "two"], new)
    assert switch_space(connection, new.name, 0.95).state == "active"
    assert search(connection, vectors_of(["two"], 24)[0], 1)[0].page_content == "two"
    switch_space(connection, old.name, 0.95)
    assert search(connection, vectors_of(["one"])[0], 1)[0].page_content == "one"
    drop_space(connection, new.name)
    assert [space.name for space in list_spaces(connection)] == [old.name]
    assert scalar(connection, f"SELECT to_regclass('{new.embeddings}')") is None


def test_the_active_space_is_not_dropped(connection: Connection) -> None:
    space = open_space(connection, "m", 8)
    with pytest.raises(ConfigurationError, match="is active"):
        drop_space(connection, space.name)


def test_a_space_that_is_not_there_is_named_with_those_that_are(connection: Connection) -> None:
    open_space(connection, "m", 8)
    with pytest.raises(ConfigurationError, match=r"no space 'x'; there are: m_8"):
        switch_space(connection, "x", 0.95)


def test_what_arrives_while_a_space_fills_is_searchable_in_the_active_one(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    new = start_space(connection, "new-model", 24)
    load(connection, "A2", {"b.txt": ["two"]})
    assert search(connection, vectors_of(["two"])[0], 1)[0].source == "b.txt"
    assert count_missing(connection, new) == 2


def test_a_view_of_somebody_elses_stands_in_the_way_and_is_named(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    new = start_space(connection, "new-model", 24)
    embed(connection, ["one"], new)
    connection.execute("CREATE VIEW theirs AS SELECT id FROM document_chunks")
    with pytest.raises(DatabaseError, match="theirs"):
        switch_space(connection, new.name, 0.95)
    active = active_space(connection)
    assert active is not None
    assert active.model == "test-model"


@pytest.mark.slow
def test_a_load_and_a_switch_at_once_leave_no_row_without_a_vector(database: Database, connection: Connection) -> None:
    """The switch looks for missing vectors where no load can add a text meanwhile."""
    load(connection, "A1", {"a.txt": ["one"]})
    new = start_space(connection, "new-model", 24)
    embed(connection, ["one"], new)
    own(connection, "A2", ["b.txt"])
    embed(connection, ["two"])
    refusals: list[str] = []

    def switch() -> None:
        try:
            with database.connect() as other:
                switch_space(other, new.name, 0.95)
        except ConfigurationError as error:
            refusals.append(str(error))

    with connection.transaction():
        load_sources(connection, "A2", [rows_of("b.txt", ["two"])])
        thread = threading.Thread(target=switch)
        thread.start()
        thread.join(0.5)
    thread.join()
    assert "misses the vectors of 1 text;" in refusals[0]
    assert scalar(connection, "SELECT count(*) FROM document_chunks") == 2


@pytest.mark.slow
def test_a_reader_in_a_long_transaction_delays_a_switch_and_does_not_fail_it(
    database: Database, connection: Connection
) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    new = start_space(connection, "new-model", 24)
    embed(connection, ["one"], new)
    with psycopg.connect(database.url) as reader:
        reader.execute("SELECT count(*) FROM document_chunks")
        thread = threading.Thread(target=switch_space, args=(connection, new.name, 0.95))
        thread.start()
        thread.join(2.5)
        assert thread.is_alive()
        reader.rollback()
        thread.join(10)
    active = active_space(connection)
    assert active is not None
    assert active.name == new.name


def test_a_large_space_is_not_switched_to_before_it_has_an_index(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"]})
    new = start_space(connection, "new-model", 24)
    embed(connection, ["one", "two"], new)
    with pytest.raises(ConfigurationError, match="has 2 vectors and no index yet"):
        switch_space(connection, new.name, 0.95, worth=2)


def test_an_index_that_finds_too_little_is_not_switched_to(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    new = start_space(connection, "new-model", 24)
    embed(connection, ["one"], new)
    connection.execute("UPDATE spaces SET recall = 0.9 WHERE name = %s", (new.name,))
    with pytest.raises(ConfigurationError, match=r"recall of 0\.900, below 0\.950"):
        switch_space(connection, new.name, 0.95)
