"""The index: built when it is worth it, fed when little landed, built anew when much did, never in the way."""

from __future__ import annotations

import threading
from typing import LiteralString

import pytest

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.rows import load_sources
from vector_pipeline.store.search.by_vector import search
from vector_pipeline.store.space import active_space
from vector_pipeline.store.sweep import sweep
from vector_pipeline_tests.support.corpus import embed, load, own, rows_of, scalar, space_of, vectors_of


def _texts(start: int, end: int) -> list[str]:
    return [f"text {i}" for i in range(start, end)]


def test_few_vectors_get_no_index_and_leave_landing(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 20)})
    (report,) = maintain_index(database)
    assert (report.indexed, report.vectors, report.landing, report.moved) == (False, 20, 0, 20)


@pytest.mark.slow
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


DEPENDENTS = {
    "view": "CREATE VIEW theirs AS SELECT * FROM document_chunks",
    "function": "CREATE FUNCTION theirs() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM document_chunks; END",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DEPENDENTS)
def test_what_somebody_built_on_the_view_keeps_standing(database: Database, connection: Connection, kind: str) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 200)})
    connection.execute(DEPENDENTS[kind].encode())
    (report,) = maintain_index(database, worth=100)
    assert (report.built, report.indexed, report.landing) == (True, True, 0)
    assert scalar(connection, "SELECT count(*) FROM theirs" if kind == "view" else "SELECT theirs()") == 200


def test_landing_takes_no_room_once_it_was_brought_under_the_index(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 300)})
    maintain_index(database, worth=100)
    assert scalar(connection, f"SELECT pg_relation_size('{space_of(connection).landing}')") == 0


@pytest.mark.slow
def test_an_index_full_of_holes_is_built_anew(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 2_000)})
    (full,) = maintain_index(database, worth=100)
    load(connection, "A2", {"a.txt": _texts(0, 300)}, "2")
    assert sweep(connection, 0) == 1_700
    (mended,) = maintain_index(database, worth=100)
    assert (mended.built, mended.vectors) == (True, 300)
    assert mended.index_bytes < full.index_bytes / 3
    (left,) = maintain_index(database, worth=100)
    assert not left.built


@pytest.mark.slow
def test_searches_keep_as_many_candidates_as_the_recall_asks_for(database: Database, connection: Connection) -> None:
    # Random vectors of many dimensions have no neighbourhoods: the hardest there is for a graph.
    space = space_of(connection, 256)
    texts = _texts(0, 3_000)
    own(connection, "A1", ["a.txt"])
    embed(connection, texts, space)
    load_sources(connection, "A1", [rows_of("a.txt", texts)])
    (least,) = maintain_index(database, worth=100, recall=0.0)
    assert least.ef_search == 100
    assert least.recall is not None
    assert least.recall < 0.999
    (enough,) = maintain_index(database, worth=100, recall=0.999)
    assert enough.ef_search is not None
    assert enough.ef_search > 100
    assert enough.recall is not None
    assert enough.recall >= 0.999
    active = active_space(connection)
    assert active is not None
    assert active.ef_search == enough.ef_search
    queries = vectors_of([f"question {i}" for i in range(20)], 256)
    right = 0
    for query in queries:
        exact = set(((-vectors_of(texts, 256)) @ query).argsort()[:10])
        right += len({int(r.page_content.split()[1]) for r in search(connection, query, 10)} & exact)
    assert right / 200 > 0.98


def test_what_an_interrupted_build_left_is_replaced(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": _texts(0, 200)})
    connection.execute(f"CREATE TABLE {space_of(connection).embeddings}_new (junk int)".encode())
    (report,) = maintain_index(database, worth=100)
    assert report.indexed
    assert scalar(connection, f"SELECT to_regclass('{space_of(connection).embeddings}_new')") is None


@pytest.mark.slow
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


GRANTS: dict[str, tuple[LiteralString, LiteralString]] = {
    "everybody": (
        "GRANT SELECT ON document_chunks TO PUBLIC",
        "SELECT has_table_privilege('public', 'document_chunks', 'SELECT')",
    ),
    "a role, which may pass it on": (
        "GRANT SELECT ON document_chunks TO pg_monitor WITH GRANT OPTION",
        "SELECT has_table_privilege('pg_monitor', 'document_chunks', 'SELECT WITH GRANT OPTION')",
    ),
    "columns": (
        "GRANT SELECT (source, page_content) ON document_chunks TO pg_monitor",
        "SELECT has_column_privilege('pg_monitor', 'document_chunks', 'page_content', 'SELECT') "
        "AND NOT has_column_privilege('pg_monitor', 'document_chunks', 'metadata', 'SELECT')",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("to", GRANTS)
def test_grants_on_the_view_survive_a_new_index(database: Database, connection: Connection, to: str) -> None:
    grant, kept = GRANTS[to]
    load(connection, "A1", {"a.txt": _texts(0, 200)})
    connection.execute(grant)
    (report,) = maintain_index(database, worth=100)
    assert report.built
    assert scalar(connection, kept)
