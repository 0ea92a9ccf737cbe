"""Recall is measured with queries whose exact neighbours are kept, and are right whatever vectors come and go."""

from __future__ import annotations

import random

import pytest

from vector_pipeline.store import recall
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.exact import nearest_by_reading_all
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.spaces import start_space
from vector_pipeline.store.sweep import sweep
from vector_pipeline_tests.support.corpus import embed, load, space_of

pytestmark = pytest.mark.slow


def texts(start: int, end: int) -> list[str]:
    return [f"text {number}" for number in range(start, end)]


def assert_exact(connection: Connection, least: int = 1) -> None:
    """What is kept for each query is the beginning of what an exact search finds now."""
    space = space_of(connection)
    kept = connection.execute("SELECT query, neighbours, distances FROM recall_queries").fetchall()
    assert len(kept) >= least
    for query, neighbours, distances in kept:
        own = f"(SELECT embedding FROM {space.embeddings} WHERE content_hash = %s)"
        exact = connection.execute(
            f"SELECT content_hash, embedding <=> {own} AS d FROM {space.embeddings} "
            "WHERE content_hash <> %s ORDER BY d LIMIT %s".encode(),
            (query, query, len(neighbours)),
        ).fetchall()
        assert neighbours == [row[0] for row in exact]
        assert distances == [row[1] for row in exact]


def test_kept_neighbours_are_the_exact_ones_after_vectors_came_and_went(
    database: Database, connection: Connection
) -> None:
    load(connection, "A0", {"a": texts(0, 400)})
    maintain_index(database, worth=100)
    assert_exact(connection, recall.SAMPLED_QUERIES)
    moments = random.Random(5)
    present = list(range(400))
    for turn in range(1, 6):
        present = sorted({*moments.sample(present, len(present) - 15), *range(1_000 * turn, 1_000 * turn + 20)})
        load(connection, f"A{turn}", {"a": [f"text {number}" for number in present]}, str(turn + 1))
        assert sweep(connection, 0) == 15
        assert_exact(connection, 25)
        (report,) = maintain_index(database, worth=100)
        assert (report.built, report.moved) == (False, 20)
        assert_exact(connection, 25)


def test_few_changes_are_not_measured_and_many_are(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a": texts(0, 1_000)})
    (built,) = maintain_index(database, worth=100)
    assert built.p50_ms is not None
    load(connection, "A2", {"b": texts(2_000, 2_005)})
    (few,) = maintain_index(database, worth=100)
    assert (few.moved, few.p50_ms, few.recall) == (5, None, built.recall)
    load(connection, "A3", {"c": texts(3_000, 3_010)})
    (many,) = maintain_index(database, worth=100)
    assert many.p50_ms is not None
    searched = connection.execute("SELECT searched_at FROM spaces").fetchone()
    load(connection, "A4", {"d": texts(4_000, 4_260)})
    maintain_index(database, worth=100)
    assert connection.execute("SELECT searched_at FROM spaces").fetchone() != searched
    connection.execute("UPDATE spaces SET measured_at = now() - interval '2 days'")
    (unchanged,) = maintain_index(database, worth=100)
    assert unchanged.p50_ms is None
    load(connection, "A5", {"e": texts(5_000, 5_001)})
    (old,) = maintain_index(database, worth=100)
    assert old.p50_ms is not None


@pytest.mark.parametrize(("dimensions", "count"), [(16, 300), (16, 9_000), (2_100, 60)])
def test_reading_all_once_finds_what_exact_searches_find(connection: Connection, dimensions: int, count: int) -> None:
    space = start_space(connection, "exact-model", dimensions)
    embed(connection, texts(0, count), space)
    connection.execute(f"INSERT INTO {space.embeddings} SELECT * FROM {space.landing}".encode())
    queries = connection.execute(
        f"SELECT content_hash, embedding FROM {space.embeddings} ORDER BY 1 LIMIT 5".encode()
    ).fetchall()
    found = nearest_by_reading_all(connection, space, queries, 20)
    for (key, vector), nearest in zip(queries, found, strict=True):
        exact = connection.execute(
            f"SELECT content_hash FROM {space.embeddings} "
            "WHERE content_hash <> %s ORDER BY embedding <=> %s LIMIT 20".encode(),
            (key, vector),
        ).fetchall()
        assert set(nearest) == {row[0] for row in exact}
    assert nearest_by_reading_all(connection, space, [], 20) == []
