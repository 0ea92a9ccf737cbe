"""Search: k texts, whatever is filtered or unreferenced, by the index where there is one."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from vector_pipeline.errors import ConfigurationError, DatabaseError
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.rows import load_sources
from vector_pipeline.store.search.by_vector import search
from vector_pipeline.store.search.filters import like_pattern
from vector_pipeline_tests.support.corpus import embed, load, own, rows_of, scalar, space_of, vectors_of


def _query(text: str, dimensions: int = 16) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    vector: np.ndarray[tuple[int], np.dtype[np.float32]] = vectors_of([text], dimensions)[0]
    return vector


@pytest.fixture
def sparse(database: Database, connection: Connection) -> list[str]:
    """An indexed space of 3,000 vectors, nine of ten of which no chunk refers to; returns the texts in the table."""
    texts = [f"text {i}" for i in range(3_000)]
    embed(connection, texts)
    load(connection, "A1", {f"{i % 10}/file.txt": texts[i:300:10] for i in range(10)})
    (report,) = maintain_index(database, worth=100)
    assert report.indexed
    return texts[:300]


def test_the_text_itself_is_nearest_to_its_vector(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two", "three"]})
    nearest, *_ = search(connection, _query("two"), 3)
    assert (nearest.source, nearest.chunk_index, nearest.page_content) == ("a.txt", 1, "two")
    assert nearest.distance == pytest.approx(0, abs=1e-6)


def test_distances_ascend_and_agree_with_numpy(connection: Connection) -> None:
    texts = [f"text {i}" for i in range(50)]
    load(connection, "A1", {"a.txt": texts})
    results = search(connection, _query("question"), 10)
    expected = np.sort(1 - vectors_of(texts) @ _query("question"))[:10]
    np.testing.assert_allclose([r.distance or 0 for r in results], expected, atol=1e-6)


def test_copies_of_a_text_are_folded_while_there_are_others(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["same", "x"], "b.txt": ["same", "y"], "c.txt": ["same"]})
    results = search(connection, _query("same"), 3)
    assert [r.page_content for r in results].count("same") == 1
    assert results[0].also_in == ["b.txt", "c.txt"]


def test_both_places_of_a_text_are_found_where_there_is_room(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["same"], "b.txt": ["same"]})
    assert [r.source for r in search(connection, _query("same"), 5)] == ["a.txt", "b.txt"]


@pytest.mark.slow
def test_a_hundred_are_found_where_nine_of_ten_vectors_are_unreferenced(
    connection: Connection, sparse: list[str]
) -> None:
    results = search(connection, _query("question"), 100)
    assert len(results) == 100
    assert [r.distance for r in results] == sorted(r.distance or 0 for r in results)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["owner", "reader"])
def test_plain_sql_finds_a_hundred_by_the_index(
    database: Database, connection: Connection, sparse: list[str], role: str
) -> None:
    query = str(_query("question").tolist())
    with psycopg.connect(database.url, autocommit=True) as anyone:
        anyone.execute("SET enable_seqscan = off")
        if role == "owner":
            plain = "FROM document_chunks ORDER BY embedding <=> %s::vector LIMIT 100"
            plan = "\n".join(row[0] for row in anyone.execute(f"EXPLAIN SELECT source {plain}".encode(), (query,)))
            assert f"Index Scan using {space_of(connection).index}" in plan
            found = anyone.execute(f"SELECT source {plain}".encode(), (query,)).fetchall()
        else:
            anyone.execute("SET hnsw.iterative_scan = off")
            found = anyone.execute("SELECT * FROM search_chunks(%s::vector, 100)", (query,)).fetchall()
            assert [row[6] for row in found] == sorted(row[6] for row in found)
        assert len(found) == 100


@pytest.mark.slow
def test_a_glob_over_sources_leaves_k_results(connection: Connection, sparse: list[str]) -> None:
    results = search(connection, _query("question"), 30, source="3/*")
    assert {r.source for r in results} == {"3/file.txt"}
    assert len(results) == 30


def test_a_filter_on_metadata(connection: Connection) -> None:
    own(connection, "A1", ["a.txt", "b.txt"])
    embed(connection, ["one", "two"])
    load_sources(connection, "A1", [rows_of("a.txt", ["one"], metadata='{"lang": "ko"}'), rows_of("b.txt", ["two"])])
    (result,) = search(connection, _query("two"), 5, where={"lang": "ko"})
    assert (result.page_content, result.metadata) == ("one", {"lang": "ko"})


@pytest.mark.slow
def test_what_has_just_landed_is_found_beside_what_is_indexed(connection: Connection, sparse: list[str]) -> None:
    load(connection, "A2", {"new.txt": ["just landed"]})
    assert search(connection, _query("just landed"), 1)[0].source == "new.txt"


def test_a_space_of_half_precision_is_searched_by_its_index(database: Database, connection: Connection) -> None:
    space = space_of(connection, 2_100)
    texts = [f"text {i}" for i in range(120)]
    own(connection, "A1", ["a.txt"])
    embed(connection, texts, space)
    load_sources(connection, "A1", [rows_of("a.txt", texts)])
    (report,) = maintain_index(database, worth=100)
    assert report.indexed
    assert search(connection, _query("text 7", 2_100), 1)[0].page_content == "text 7"
    rows = connection.execute("SELECT page_content FROM search_chunks(%s, 5)", (_query("text 7", 2_100),)).fetchall()
    assert rows[0] == ("text 7",)
    assert len(rows) == 5


@pytest.mark.parametrize("k", [0, 1_001])
def test_k_out_of_range_is_refused(connection: Connection, k: int) -> None:
    with pytest.raises(ConfigurationError, match="from 1 to 1,000"):
        search(connection, _query("x"), k)


def test_a_table_that_was_never_filled_says_what_to_do(connection: Connection) -> None:
    with pytest.raises(DatabaseError, match="vector-pipeline ingest"):
        search(connection, _query("x"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("glob", "pattern"),
    [("docs/*.md", "docs/%.md"), ("a_b%c?", "a\\_b\\%c_"), ("**/x", "%/x"), ("back\\slash", "back\\\\slash")],
)
def test_globs_become_patterns(connection: Connection, glob: str, pattern: str) -> None:
    assert like_pattern(glob) == pattern
    assert scalar(connection, "SELECT 'docs/a/b.md' LIKE 'docs/%.md'")
