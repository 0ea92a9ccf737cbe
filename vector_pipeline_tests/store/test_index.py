"""The index: built when it is worth it, fed when little landed, built anew when much did, never in the way."""

from __future__ import annotations

import threading

import pytest

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.search import search
from vector_pipeline_tests.store.corpus import load, scalar, space_of, vectors_of


def _texts(start: int, end: int) -> list[str]:
    return [f"text {i}" for i in range(start, end)]


def test_few_vectors_get_no_index_and_leave_landing(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 20)})
    (report,) = maintain_index(database)
    assert (report.indexed, report.vectors, report.landing, report.moved) == (False, 20, 0, 20)


def test_an_index_is_built_fed_and_built_anew(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 300)})
    (first,) = maintain_index(database, worth=100)
    assert (first.built, first.indexed, first.landing) == (True, True, 0)
    load(connection, "A2", {"b.txt": _texts(300, 320)})
    (fed,) = maintain_index(database, worth=100)
    assert (fed.built, fed.moved, fed.landing) == (False, 20, 0)
    load(connection, "A3", {"c.txt": _texts(320, 700)})
    (anew,) = maintain_index(database, worth=100)
    assert (anew.built, anew.vectors, anew.landing) == (True, 700, 0)
    assert anew.recall is not None
    assert anew.recall > 0.9
    assert anew.p50_ms is not None
    assert anew.index_bytes > 0
    assert scalar(connection, "SELECT count(*) FROM document_chunks") == 700


def test_one_process_at_a_time(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    connection.execute("SELECT pg_advisory_lock(hashtextextended('vector index:' || current_schema(), 0))")
    assert maintain_index(database) == []


def test_a_view_of_somebody_elses_keeps_standing(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 200)})
    connection.execute("CREATE VIEW theirs AS SELECT * FROM document_chunks")
    (report,) = maintain_index(database, worth=100)
    assert (report.built, report.indexed, report.landing) == (True, True, 0)
    assert scalar(connection, "SELECT count(*) FROM theirs") == 200


def test_what_an_interrupted_build_left_is_replaced(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 200)})
    connection.execute(f"CREATE TABLE {space_of(connection).embeddings}_new (junk int)".encode())
    (report,) = maintain_index(database, worth=100)
    assert report.indexed
    assert scalar(connection, f"SELECT to_regclass('{space_of(connection).embeddings}_new')") is None


def test_searches_and_loads_go_on_while_the_index_is_built_and_fed(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 400)})
    stop, failures = threading.Event(), list[str]()

    def use() -> None:
        turn = 0
        with database.connect() as own:
            while not stop.is_set():
                turn += 1
                load(own, f"B{turn}", {"b.txt": _texts(1_000 + turn * 20, 1_020 + turn * 20)}, str(turn))
                if len(found := search(own, vectors_of(["q"])[0], 50)) != 50:
                    failures.append(f"{len(found)} found")
                rows = own.execute("SELECT count(*), count(DISTINCT id) FROM document_chunks").fetchone()
                if rows != (420, 420):
                    failures.append(f"rows {rows}")

    user = threading.Thread(target=use)
    user.start()
    try:
        for _ in range(6):
            maintain_index(database, worth=100)
    finally:
        stop.set()
        user.join()
    assert failures == []


@pytest.mark.parametrize("grantee", ["PUBLIC"])
def test_grants_on_the_view_survive_a_new_index(database: Database, connection: Connection, grantee: str) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 200)})
    connection.execute(f"GRANT SELECT ON document_chunks TO {grantee}".encode())
    maintain_index(database, worth=100)
    assert scalar(
        connection,
        "SELECT relacl::text LIKE '%{=r/%' OR relacl::text LIKE '%,=r/%' FROM pg_class "
        "WHERE relname = 'document_chunks'",
    )
