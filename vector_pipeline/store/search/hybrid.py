"""Search by words and meaning together.

A text's score is its share of the best score that words can give, sum of idf * tf / (tf + norm) over sum of idf, plus
three quarters of its cosine similarity to the question. Both have a fixed scale, whatever else is in the table: where a
model cannot tell texts apart, as one that knows no Korean, its similarities are all alike and words decide; where a
question has words that no text holds, as in another language, words can say little and meaning decides. (Bruch, Gai and
Ingber, An Analysis of Fusion Functions for Hybrid Retrieval, 2023, find normalising by the theoretical bounds sound and
stable; ranks alone, as in reciprocal rank fusion, do harm beside a weak side.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from psycopg.pq import TransactionStatus

from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.lexical.maintenance import has_backlog
from vector_pipeline.store.search.by_vector import Vector, distances, nearest, require_k, require_space
from vector_pipeline.store.search.by_words import WordSearch
from vector_pipeline.store.search.filters import Filter, Passing, passing
from vector_pipeline.store.search.results import Found, SearchResult, results_of
from vector_pipeline.store.space import Space, get_space
from vector_pipeline.text.terms import Query, parse_query

Mode = Literal["auto", "hybrid", "words", "meaning"]

# Measured on benchmarks/labelled_set: from 0.5 to 1, recall@5 differs by one question of a hundred.
MEANING_WEIGHT = 0.75
# The number of texts of each side that both sides score.
CANDIDATES = 50


@dataclass(frozen=True, slots=True)
class Question:
    """A search: the text, the number of results, the mode, and the filter."""

    text: str
    k: int = 5
    mode: Mode = "auto"
    limits: Filter = field(default_factory=Filter)
    context: int = 0
    """The number of chunks before and after whose text is added to a result."""
    space: str | None = None
    """The space whose vectors are used. None: the active one."""


def search(connection: Connection, question: Question, embed: Callable[[Space], Vector]) -> list[SearchResult]:
    """The k best texts, best first. `embed` returns the question's vector in a space; it is called only if needed.

    `auto` answers an identifier, a quoted phrase or one word by words, if any text holds them, and all else by both.
    Raises ConfigurationError for a k out of range, DatabaseError where nothing was ever embedded or cut.
    """
    require_k(question.k)
    space = get_space(connection, question.space) if question.space else require_space(connection)
    query = parse_query(question.text)
    if question.mode == "words" or (question.mode == "auto" and query.exact):
        with snapshot(connection):
            found = _by_words(connection, query, question, passing(connection, question.limits))
            if len(found) >= question.k or question.mode == "words" or (found and query.phrases):
                return results_of(connection, found, question.k, question.limits, question.context)
    vector = embed(space)
    with snapshot(connection):
        passes = passing(connection, question.limits)
        if question.mode == "meaning" or not query.terms:
            found = [
                Found(h, 1 - distance, distance)
                for h, distance in nearest(connection, space, vector, question.k, passes)
            ]
        else:
            found = _by_both(connection, space, vector, query, question, passes)
        return results_of(connection, found, question.k, question.limits, question.context)


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """A transaction in which all statements see the same snapshot."""
    begins = connection.info.transaction_status == TransactionStatus.IDLE
    with connection.transaction():
        if begins:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def _by_words(connection: Connection, query: Query, question: Question, passes: Passing) -> list[Found]:
    if not query.terms or passes.none:
        return []
    found = WordSearch(connection, query, passes).best(question.k)
    if not found and has_backlog(connection):
        raise DatabaseError(
            "the words of what was loaded by an earlier version are not indexed yet; run `vector-pipeline ingest`, "
            "which pays for nothing"
        )
    return [Found(content_hash, score) for content_hash, score in found]


def _by_both(
    connection: Connection, space: Space, vector: Vector, query: Query, question: Question, passes: Passing
) -> list[Found]:
    if passes.none:
        return []
    count = max(CANDIDATES, question.k)
    words = WordSearch(connection, query, passes)
    by_words = dict(words.best(count, phrases=False))
    by_meaning = dict(nearest(connection, space, vector, count, passes))
    # Each side also scores what the other one found.
    by_words |= words.shares(by_meaning.keys() - by_words.keys())
    by_meaning |= distances(connection, space, vector, by_words.keys() - by_meaning.keys())
    found = [Found(h, by_words[h] + MEANING_WEIGHT * (1 - distance), distance) for h, distance in by_meaning.items()]
    # An exact question found too few texts by words. These texts still come first.
    first = {h for h, share in by_words.items() if share} if question.mode == "auto" and query.exact else set()
    return sorted(found, key=lambda text: (text.content_hash not in first, -text.score, text.content_hash))[: question.k]
