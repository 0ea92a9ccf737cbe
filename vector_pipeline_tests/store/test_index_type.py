"""An index in half precision: every search uses it, distances are those of the stored vectors, and it can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pytest

from vector_pipeline.store.binary import Vectors
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.index import IndexReport, maintain_index
from vector_pipeline.store.rows import load_sources
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.search import by_vector
from vector_pipeline.store.search.filters import Filter
from vector_pipeline.store.space import ElementType, Space, list_spaces
from vector_pipeline.store.spaces import open_space, start_space, switch_space
from vector_pipeline.store.vectors import store_vectors
from vector_pipeline_tests.support.corpus import embed, hash_of, load, own, rows_of, scalar, space_of, vectors_of

MIGRATION = 27
INDEX = "embeddings_test_model_16_hnsw"
TEXTS = [f"text {number}" for number in range(300)]


def only_space(connection: Connection) -> Space:
    (space,) = list_spaces(connection)
    return space


def filled(database: Database, connection: Connection, index_type: ElementType = "halfvec") -> IndexReport:
    """An indexed table, with two texts that have just landed."""
    open_space(connection, "test-model", 16, index_type=index_type)
    load(connection, "A1", {"a.txt": TEXTS})
    (report,) = maintain_index(database, worth=100)
    load(connection, "A2", {"new.txt": ["just landed", "landed too"]})
    return report


def plan_as_if_large(connection: Connection) -> None:
    """Let this transaction plan for small tables as for large ones: along the index until enough is found."""
    for method in ("seqscan", "hashjoin", "mergejoin"):
        connection.execute(f"SET LOCAL enable_{method} = off".encode())


def plan(connection: Connection, statement: str, values: Sequence[Any] | dict[str, Any]) -> str:
    with connection.transaction():
        plan_as_if_large(connection)
        return "\n".join(row[0] for row in connection.execute(f"EXPLAIN {statement}".encode(), values))


def index_definition(connection: Connection) -> str:
    return str(scalar(connection, f"SELECT pg_get_indexdef('{INDEX}'::regclass)"))


@pytest.mark.parametrize(
    ("dimensions", "index_type", "expected"),
    [
        (256, None, "vector"),
        (1_536, None, "vector"),
        (1_536, "halfvec", "halfvec"),
        (256, "halfvec", "halfvec"),
        (3_072, None, "halfvec"),
        (3_072, "vector", "halfvec"),
    ],
)
def test_new_spaces_are_indexed_in_full_unless_halves_are_asked_for(
    connection: Connection, dimensions: int, index_type: ElementType | None, expected: str
) -> None:
    assert open_space(connection, "test-model", dimensions, index_type=index_type).index_type == expected
    assert only_space(connection).index_type == expected


@pytest.mark.parametrize("shown", ["halfvec", "vector"])
def test_the_index_has_the_type_of_its_space_and_the_view_shows_it(
    database: Database, connection: Connection, shown: ElementType
) -> None:
    report = filled(database, connection, shown)
    assert (report.indexed, report.index_type) == (True, shown)
    assert (only_space(connection).element_type, only_space(connection).index_type) == ("vector", shown)
    assert f"{shown}_cosine_ops" in index_definition(connection)
    assert scalar(connection, "SELECT pg_typeof(embedding)::text FROM document_chunks LIMIT 1") == shown
    # What was paid for is kept in full.
    table = only_space(connection).embeddings
    assert scalar(connection, f"SELECT pg_typeof(embedding)::text FROM {table} LIMIT 1") == "vector"


@pytest.mark.parametrize("index_type", ["halfvec", "vector"])
@pytest.mark.parametrize("limits", [Filter(), Filter(source="*.txt"), Filter(root="/corpus")])
def test_searches_use_the_index(
    database: Database, connection: Connection, index_type: ElementType, limits: Filter
) -> None:
    filled(database, connection, index_type)
    connection.execute("ANALYZE")
    space = only_space(connection)
    statement = by_vector._statement(connection, by_vector._NEAREST_BY_INDEX, space, limits).as_string(connection)
    values = {"query": vectors_of(["question"])[0], "k": 10, **limits.values}
    assert f"Index Scan using {space.index}" in plan(connection, statement, values)


@pytest.mark.parametrize(
    ("index_type", "parameter"),
    [
        *(("halfvec", parameter) for parameter in ("%s", "%s::vector", "%s::halfvec", "'{}'")),
        *(("vector", parameter) for parameter in ("%s", "%s::vector", "'{}'")),  # halves are compared with halves
    ],
)
def test_plain_sql_uses_the_index(
    database: Database, connection: Connection, index_type: ElementType, parameter: str
) -> None:
    filled(database, connection, index_type)
    text = str(vectors_of(["just landed"])[0].tolist())
    statement = f"SELECT page_content FROM document_chunks ORDER BY embedding <=> {parameter} LIMIT 10"
    statement, values = statement.replace("{}", text), ([text] if "%s" in parameter else [])
    with psycopg.connect(database.url, autocommit=True) as anyone:
        anyone.execute("SET enable_seqscan = off")
        lines = "\n".join(row[0] for row in anyone.execute(f"EXPLAIN {statement}".encode(), values))
        assert f"Index Scan using {only_space(connection).index}" in lines
        assert anyone.execute(statement.encode(), values).fetchone() == ("just landed",)


FUNCTIONS = {
    "by vector": "SELECT page_content FROM search_chunks(%(vector)s::vector, 10)",
    "by both": "SELECT page_content FROM search_chunks('question', %(vector)s::vector, 10)",
    "by both, filtered": "SELECT page_content FROM search_chunks('q', %(vector)s::vector, 10, in_source => 'a%%')",
}


@pytest.mark.parametrize("index_type", ["halfvec", "vector"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_use_the_index_and_read_no_table_of_vectors_whole(
    database: Database, connection: Connection, index_type: ElementType, function: str
) -> None:
    filled(database, connection, index_type)
    connection.execute("ANALYZE")
    space = only_space(connection)
    counts = "SELECT pg_stat_get_xact_numscans(%s::regclass), pg_stat_get_xact_numscans(%s::regclass)"
    with connection.transaction():
        plan_as_if_large(connection)
        before = np.array(connection.execute(counts, (space.index, space.embeddings)).fetchone())
        rows = connection.execute(FUNCTIONS[function].encode(), {"vector": vectors_of(["question"])[0]}).fetchall()
        scans = np.array(connection.execute(counts, (space.index, space.embeddings)).fetchone()) - before
    assert len(rows) == 10
    assert scans.tolist() == [1, 0]


@pytest.mark.parametrize("index_type", ["halfvec", "vector"])
def test_distances_are_those_of_the_stored_vectors(
    database: Database, connection: Connection, index_type: ElementType
) -> None:
    filled(database, connection, index_type)
    texts = [*TEXTS, "just landed", "landed too"]
    query = vectors_of(["question"])[0]
    exact = dict(zip(texts, 1 - vectors_of(texts).astype(np.float64) @ query.astype(np.float64), strict=True))
    nearest = sorted(exact, key=exact.__getitem__)[:10]
    found = by_vector.search(connection, query, 10)
    assert {r.page_content for r in found} == set(nearest)
    assert [r.distance for r in found] == pytest.approx([exact[r.page_content] for r in found], abs=1e-7)
    rows = connection.execute("SELECT page_content, distance FROM search_chunks(%s, 10)", (query,)).fetchall()
    assert [text for text, _ in rows] == [r.page_content for r in found]
    assert [distance for _, distance in rows] == pytest.approx([exact[text] for text, _ in rows], abs=1e-7)


def test_another_type_builds_the_index_again_and_nothing_is_lost(database: Database, connection: Connection) -> None:
    filled(database, connection)
    connection.execute("GRANT SELECT ON document_chunks TO pg_monitor")
    before = connection.execute(f"SELECT content_hash, embedding::text FROM {space_of(connection).embeddings}".encode())
    stored = set(before.fetchall())
    for wanted, found in (("vector", "vector"), (None, "vector"), ("halfvec", "halfvec"), (None, "halfvec")):
        (report,) = maintain_index(database, worth=100, index_type=wanted)  # type: ignore[arg-type]
        assert (report.built, report.index_type, report.indexed) == (wanted is not None, found, True)
        assert report.recall is not None
        assert f"{found}_cosine_ops" in index_definition(connection)
        assert scalar(connection, "SELECT pg_typeof(embedding)::text FROM document_chunks LIMIT 1") == found
        assert by_vector.search(connection, vectors_of(["just landed"])[0], 1)[0].page_content == "just landed"
    after = connection.execute(f"SELECT content_hash, embedding::text FROM {space_of(connection).embeddings}".encode())
    assert stored <= set(after.fetchall())
    assert scalar(connection, "SELECT has_table_privilege('pg_monitor', 'document_chunks', 'SELECT')")


def test_without_an_index_another_type_changes_the_view(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"]})
    (report,) = maintain_index(database, index_type="halfvec")
    assert (report.indexed, report.index_type) == (False, "halfvec")
    assert scalar(connection, "SELECT pg_typeof(embedding)::text FROM document_chunks LIMIT 1") == "halfvec"
    assert scalar(connection, "SELECT count(*) FROM document_chunks") == 2


DEPENDENTS = {
    "a view": "CREATE VIEW theirs AS SELECT source, embedding FROM document_chunks",
    "a function": "CREATE FUNCTION theirs(document_chunks) RETURNS text RETURN ($1).source",
}


@pytest.mark.parametrize("kind", DEPENDENTS)
def test_where_objects_depend_on_the_view_the_type_stays_and_the_log_says_so(
    database: Database, connection: Connection, kind: str
) -> None:
    filled(database, connection)
    connection.execute(DEPENDENTS[kind].encode())
    said: list[str] = []
    (report,) = maintain_index(database, worth=100, index_type="vector", log=said.append)
    assert (report.index_type, report.landing) == ("halfvec", 0)
    assert any("stays halfvec" in line for line in said)
    connection.execute("DROP VIEW IF EXISTS theirs; DROP FUNCTION IF EXISTS theirs")
    (report,) = maintain_index(database, worth=100, index_type="vector")
    assert (report.index_type, report.built) == ("vector", True)


def tiny(texts: Sequence[str]) -> Vectors:
    """Vectors so short that half precision keeps few bits of them; their directions are those of `vectors_of`."""
    return np.asarray(vectors_of(texts) * 1e-6, dtype=np.float32)


@pytest.mark.parametrize("index_type", [None, "halfvec"])
def test_an_index_that_half_precision_makes_too_coarse_is_built_in_full(
    database: Database, connection: Connection, index_type: ElementType | None
) -> None:
    texts = [f"text {number}" for number in range(1_500)]
    space = open_space(connection, "test-model", 16, index_type="halfvec")
    own(connection, "A1", ["a.txt"])
    store_vectors(connection, space, [hash_of(text) for text in texts], tiny(texts))
    load_sources(connection, "A1", [rows_of("a.txt", texts)])
    said: list[str] = []
    (report,) = maintain_index(database, worth=100, index_type=index_type, log=said.append)
    assert any("half precision finds 0." in line for line in said)
    assert report.recall is not None
    if index_type is None:
        assert (report.index_type, only_space(connection).index_type) == ("vector", "vector")
        assert report.recall > 0.95
        (again,) = maintain_index(database, worth=100)
        assert (again.built, again.index_type) == (False, "vector")
    else:
        # Somebody chose it: the check of recall says what it finds.
        assert report.index_type == "halfvec"
        assert report.recall < 0.95


def test_a_switch_to_a_space_of_another_type_and_back(database: Database, connection: Connection) -> None:
    filled(database, connection, "vector")
    new = start_space(connection, "new-model", 16, index_type="halfvec")
    embed(connection, [*TEXTS, "just landed", "landed too"], new)
    maintain_index(database, worth=100)
    for name, shown in ((new.name, "halfvec"), ("test_model_16", "vector")):
        switch_space(connection, name, 0.9, worth=100)
        assert scalar(connection, "SELECT pg_typeof(embedding)::text FROM document_chunks LIMIT 1") == shown
        assert by_vector.search(connection, vectors_of(["text 7"])[0], 1)[0].page_content == "text 7"
        rows = connection.execute("SELECT page_content FROM search_chunks(%s, 1)", (vectors_of(["text 7"])[0],))
        assert rows.fetchall() == [("text 7",)]


def test_a_database_from_before_types_of_indexes_goes_on_as_it_was(database: Database, connection: Connection) -> None:
    filled(database, connection, "vector")
    wide = start_space(connection, "wide-model", 2_100)
    definition = index_definition(connection)
    connection.execute("ALTER TABLE spaces DROP COLUMN index_type")
    connection.execute("DELETE FROM vector_pipeline_migrations WHERE number = %s", (MIGRATION,))
    assert migrate(database) == [MIGRATION]
    assert {s.name: s.index_type for s in list_spaces(connection)} == {"test_model_16": "vector", wide.name: "halfvec"}
    (report, *_) = maintain_index(database, worth=100)
    assert (report.built, report.index_type, report.landing) == (False, "vector", 0)
    assert index_definition(connection) == definition
    assert scalar(connection, "SELECT pg_typeof(embedding)::text FROM document_chunks LIMIT 1") == "vector"
    query = vectors_of(["just landed"])[0]
    assert connection.execute("SELECT page_content FROM search_chunks(%s, 1)", (query,)).fetchone() == ("just landed",)
