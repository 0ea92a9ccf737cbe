"""The sweep: what nothing refers to goes after its grace, and never from under a load."""

from __future__ import annotations

import threading
import uuid

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.rows import load_sources
from vector_pipeline.store.sweep import sweep
from vector_pipeline.store.vectors import missing
from vector_pipeline_tests.support.corpus import embed, hash_of, load, own, rows_of, scalar, space_of


def _age(connection: Connection, days: int) -> None:
    space = space_of(connection)
    for table, column in (
        (space.landing, "created_at"),
        (space.embeddings, "created_at"),
        ("unreferenced_hashes", "since"),
    ):
        connection.execute(f"UPDATE {table} SET {column} = {column} - interval '{days} days'".encode())


def test_a_vector_goes_a_grace_period_after_its_last_chunk(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"], "b.txt": ["two"]})
    _age(connection, 30)
    load(connection, "A2", {"a.txt": []}, "2")
    assert sweep(connection, 86_400) == 0
    _age(connection, 2)
    assert sweep(connection, 86_400) == 1
    assert missing(connection, space_of(connection), [hash_of("one"), hash_of("two")]) == {hash_of("one")}


def test_an_answer_that_was_paid_for_and_not_yet_loaded_stays(connection: Connection) -> None:
    embed(connection, ["one"])
    assert sweep(connection, 60) == 0


def test_a_text_that_came_back_after_its_vector_was_swept_has_a_new_grace(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    load(connection, "A2", {"a.txt": []}, "2")
    _age(connection, 2)
    assert sweep(connection, 86_400) == 1
    embed(connection, ["one"])
    connection.execute(
        "INSERT INTO unreferenced_hashes VALUES (%s, now() - interval '2 days') ON CONFLICT DO NOTHING",
        (uuid.UUID(bytes=hash_of("one")),),
    )
    assert sweep(connection, 86_400) == 0


def test_the_sweep_waits_for_a_load_and_then_spares_what_it_refers_to(
    database: Database, connection: Connection
) -> None:
    own(connection, "A1", ["a.txt"])
    embed(connection, ["one"])
    _age(connection, 30)
    removed: list[int] = []

    def sweep_it() -> None:
        with database.connect() as other:
            removed.append(sweep(other, 60))

    with connection.transaction():
        load_sources(connection, "A1", [rows_of("a.txt", ["one"])])
        thread = threading.Thread(target=sweep_it)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    assert removed == [0]


def test_the_room_of_many_removed_vectors_is_free_at_once(connection: Connection) -> None:
    embed(connection, [f"text {i}" for i in range(200)])
    assert sweep(connection, 0) == 200
    assert scalar(connection, f"SELECT pg_relation_size('{space_of(connection).landing}')") == 0
