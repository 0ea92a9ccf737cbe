"""Phrases and filters of a search by words: all that fits is found, and little else is read."""

from __future__ import annotations

import pytest

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.lexical.maintenance import maintain_lexical
from vector_pipeline.store.search.by_words import WordSearch
from vector_pipeline.store.search.filters import FEW, Filter, passing
from vector_pipeline.text.terms import parse_query
from vector_pipeline_tests.support.corpus import hash_of, load

COMMON = "the house of the state and"


def words(connection: Connection, question: str, limits: Filter | None = None) -> WordSearch:
    return WordSearch(connection, parse_query(question), passing(connection, limits or Filter()))


@pytest.mark.parametrize("landed", [True, False])
def test_a_phrase_of_common_words_is_looked_for_in_texts_with_all_of_them(
    database: Database, connection: Connection, landed: bool
) -> None:
    texts = [f"{COMMON} n{i}" if i % 2 else f"the other house n{i}" for i in range(1_200)]
    wanted = "somewhere of the house and the state"
    load(connection, "A1", {"a.txt": [*texts, wanted]})
    if not landed:
        maintain_lexical(database)
    search = words(connection, '"of the house and"')
    candidates = [h for portion in search._candidates(5, search.query.phrases) for h, _ in portion]
    assert set(candidates) == {hash_of(text) for text in [*texts[1::2], wanted]}
    assert [h for h, _ in search.best(5)] == [hash_of(wanted)]
    assert words(connection, '"house the of"').best(5) == []


def test_a_phrase_within_few_texts(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one two three", "two one three"], "b.txt": ["one two four"]})
    found = words(connection, '"one two"', Filter(source="a.txt")).best(5)
    assert [h for h, _ in found] == [hash_of("one two three")]


def test_a_single_syllable_as_a_phrase(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["그 날", "다른 날"]})
    assert [h for h, _ in words(connection, '"그"').best(5)] == [hash_of("그 날")]


@pytest.mark.slow
def test_results_under_a_filter_are_all_there(database: Database, connection: Connection) -> None:
    rare = [f"common rare n{i}" for i in range(30)]
    load(connection, "A1", {"a.txt": [f"common common common a{i}" for i in range(FEW + 10)], "b.txt": rare})
    maintain_lexical(database)
    # More texts pass than are counted.
    load(connection, "A2", {"c.txt": [f"other c{i}" for i in range(FEW + 10)]})
    limits = Filter(source="?.txt")
    assert passing(connection, limits).few is None
    assert len(words(connection, "common", limits).best(50)) == 50
    assert {h for h, _ in words(connection, "rare", limits).best(50)} == {hash_of(text) for text in rare}
    assert passing(connection, Filter(source="b.txt")).few is not None
    assert len(words(connection, "common", Filter(source="b.txt")).best(50)) == 30
    assert words(connection, "common", Filter(source="none")).best(5) == []


def test_a_filter_is_planned_for_its_own_values(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one two three"]})
    for number in range(8):  # psycopg prepares a statement after five times
        passing(connection, Filter(source="a.txt", where={"n": number}))
    prepared = connection.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%string_agg%'")
    assert prepared.fetchone() == (0,)
