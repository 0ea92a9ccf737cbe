"""Vectors: written once, whoever brings them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vector_pipeline.errors import ConfigurationError, SpaceMismatch
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.spaces import open_space
from vector_pipeline.store.vectors import missing, store_vectors
from vector_pipeline_tests.support.corpus import embed, hash_of, scalar, space_of, vectors_of


@pytest.mark.parametrize(("dimensions", "element_type"), [(3, "vector"), (2_000, "vector"), (3_072, "halfvec")])
def test_what_was_stored_comes_back(connection: Connection, dimensions: int, element_type: str) -> None:
    space = space_of(connection, dimensions)
    assert space.element_type == element_type
    texts = ["one", "two", "three"]
    assert embed(connection, texts, space) == 3
    rows = connection.execute(f"SELECT content_hash, embedding::real[] FROM {space.landing}".encode())
    stored = {key.bytes: np.asarray(numbers, np.float32) for key, numbers in rows}
    for text, vector in zip(texts, vectors_of(texts, dimensions), strict=True):
        np.testing.assert_allclose(stored[hash_of(text)], vector, atol=0 if element_type == "vector" else 1e-3)


def test_a_hash_is_stored_once(connection: Connection) -> None:
    assert embed(connection, ["one", "two"]) == 2
    assert embed(connection, ["two", "three", "three"]) == 1
    assert missing(connection, space_of(connection), [hash_of("three"), hash_of("four")]) == {hash_of("four")}


def test_a_hash_under_the_index_does_not_land_again(connection: Connection) -> None:
    space = space_of(connection)
    embed(connection, ["one"])
    connection.execute(
        f"WITH m AS (DELETE FROM {space.landing} RETURNING *) INSERT INTO {space.embeddings} SELECT * FROM m".encode()
    )
    assert embed(connection, ["one", "two"]) == 1
    assert scalar(connection, f"SELECT count(*) FROM {space.landing}") == 1


def test_other_dimensions_are_refused_before_anything_is_written(connection: Connection) -> None:
    space = space_of(connection, 16)
    with pytest.raises(SpaceMismatch, match=r"\(1, 17\).*16 dimensions"):
        store_vectors(connection, space, [hash_of("one")], vectors_of(["one"], 17))
    assert missing(connection, space, [hash_of("one")])


def test_more_dimensions_than_can_be_indexed_are_refused(connection: Connection) -> None:
    with pytest.raises(ConfigurationError, match="4,096 dimensions; pgvector indexes at most 4,000"):
        open_space(connection, "wide", 4_096)


def test_runs_that_bring_the_same_hashes_at_once_neither_fail_nor_double_them(database: Database) -> None:
    texts = [f"text {i}" for i in range(400)]
    with database.connect() as connection:
        space_of(connection)

    def bring(seed: int) -> int:
        order = np.random.default_rng(seed).permutation(len(texts))
        with database.connect() as own:
            return sum(embed(own, [texts[i] for i in order[at : at + 40]]) for at in range(0, len(texts), 40))

    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(bring, range(4)))
    assert sum(stored) == len(texts)


def test_a_hash_that_is_just_being_stored_by_another_run_is_waited_for(database: Database) -> None:
    with database.connect() as first, database.connect() as second:
        space = space_of(first)
        done: list[int] = []
        with first.transaction():
            embed(first, ["one"])
            thread = threading.Thread(target=lambda: done.append(embed(second, ["one", "two"])))
            thread.start()
            thread.join(0.3)
            assert thread.is_alive()
        thread.join()
        assert done == [1]
        assert scalar(first, f"SELECT count(*) FROM {space.landing}") == 2
