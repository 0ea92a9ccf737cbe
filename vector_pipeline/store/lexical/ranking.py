"""The exact BM25 scores of all texts for a question, also with frequent words.

The postings of the question's terms are summed here, in numpy: what Postgres does row by row in 100 ns is an addition.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
from psycopg import sql

from vector_pipeline.store.binary import TextArray, UuidArray
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.lexical import bm25
from vector_pipeline.store.lexical.bm25 import Floats
from vector_pipeline.store.lexical.segments import Segment

MAX_TERMS = 256
"""The number of terms of a question that count: the first ones."""


@dataclass(frozen=True, slots=True)
class _Landed:
    content_hash: bytes
    length: int
    frequencies: list[int]
    """The frequency of each term of the question."""

    def score(self, weights: Sequence[float], mean: float) -> float:
        """Its BM25 score; `mean` is the mean length of all texts."""
        norm = bm25.K1 * (1 - bm25.B + bm25.B * self.length / mean)
        pairs = zip(weights, self.frequencies, strict=True)
        return sum(weight * count / (count + norm) for weight, count in pairs if count)


class WordRanking:
    """The BM25 scores of all texts for the terms of a question. No score can exceed `ideal`."""

    def __init__(
        self, connection: Connection, scores: dict[int, Floats], landed: dict[bytes, float], ideal: float
    ) -> None:
        self._connection = connection
        self._scores = scores
        self._landed = landed
        self.ideal = ideal

    def best(self, count: int) -> list[tuple[bytes, float]]:
        """The texts with the highest scores above 0, by hash, highest first; equal ones in the order of their hashes."""
        found = dict(self._best_of_segments(count))
        # A text that two loads wrote at the same time may be in both.
        found |= self._landed
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:count]

    def _best_of_segments(self, count: int) -> Iterator[tuple[bytes, float]]:
        places = [(key, ordinal) for key, scores in self._scores.items() for ordinal in _highest(scores, count)]
        rows = self._connection.execute(
            "SELECT pg_catalog.uuid_send(content_hash), segment, ordinal FROM lexical_texts "
            "JOIN unnest(%s::int[], %s::int[]) AS u (segment, ordinal) USING (segment, ordinal)",
            ([key for key, _ in places], [ordinal for _, ordinal in places]),
        )
        for content_hash, key, ordinal in rows:
            yield content_hash, float(self._scores[key][ordinal])

    def of(self, hashes: Collection[bytes]) -> dict[bytes, float]:
        """The scores of some texts; 0 for one that has no term of the question."""
        found = dict.fromkeys(hashes, 0.0)
        rows = self._connection.execute(
            "SELECT pg_catalog.uuid_send(content_hash), segment, ordinal FROM lexical_texts "
            "WHERE content_hash = ANY(%s) AND segment = ANY(%s)",
            (UuidArray(hashes), list(self._scores)),
        )
        for content_hash, key, ordinal in rows:
            found[content_hash] = float(self._scores[key][ordinal])
        return found | {h: self._landed[h] for h in found.keys() & self._landed.keys()}


def rank_words(connection: Connection, terms: Sequence[str]) -> WordRanking:
    """Rank all texts by the terms of a question. Call it inside a transaction with one snapshot (REPEATABLE READ)."""
    terms = terms[:MAX_TERMS]
    with connection.pipeline():
        stored = _select_postings(connection, terms)
        landing = _select_landing(connection, terms)
        totals = connection.execute(
            "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(length), 0) FROM lexical_landing"
        )
        found = connection.execute("SELECT segment, texts, length, lengths FROM lexical_segments", binary=True)
        postings = [_Postings(*row) for row in stored]
        landed = [_Landed(*row) for row in landing]
        landed_texts, landed_length = totals.fetchone() or (0, 0)
        segments = [(Segment(*row[:3]), np.frombuffer(row[3], dtype="<u2")) for row in found]
    texts = sum(segment.texts for segment, _ in segments) + landed_texts
    length = sum(segment.length for segment, _ in segments) + int(landed_length)
    mean = max(1.0, length / max(1, texts))
    holding = [sum(1 for text in landed if text.frequencies[place]) for place in range(len(terms))]
    places = {term: place for place, term in enumerate(terms)}
    for found_postings in postings:
        holding[places[found_postings.term]] += found_postings.texts
    weights = {term: bm25.idf(texts, count) for term, count in zip(terms, holding, strict=True)}
    scores = {segment.key: np.zeros(segment.texts, dtype=np.float32) for segment, _ in segments}
    norms = {segment.key: bm25.norms(lengths, mean) for segment, lengths in segments}
    for one in postings:
        one.add(scores[one.segment], norms[one.segment], weights[one.term])
    of_landed = {text.content_hash: text.score(list(weights.values()), mean) for text in landed}
    return WordRanking(connection, scores, of_landed, sum(weights.values()))


@dataclass(frozen=True, slots=True)
class _Postings:
    """A row of lexical_postings."""

    term: str
    segment: int
    frequent: int | None
    data: bytes

    @property
    def texts(self) -> int:
        """The number of texts of the segment with the term."""
        return len(self.data) // 4 if self.frequent is None else self.frequent

    def add(self, scores: Floats, norms: Floats, weight: float) -> None:
        """Add the term's score to each text. The arrays have the shape (texts of the segment,)."""
        if self.frequent is None:
            packed = np.frombuffer(self.data, dtype="<u4")
            ordinals = packed >> bm25.FREQUENCY_BITS
            frequencies = (packed & bm25.MAX_FREQUENCY).astype(np.float32)
            scores[ordinals] += np.float32(weight) * frequencies / (frequencies + norms[ordinals])
        else:
            every = np.frombuffer(self.data, dtype=np.uint8).astype(np.float32)
            below = every + norms
            np.divide(every, below, out=every)
            every *= np.float32(weight)
            scores += every


def _select_postings(connection: Connection, terms: Sequence[str]) -> psycopg.Cursor[tuple[str, int, int, bytes]]:
    return connection.execute(
        "SELECT term, segment, frequent, postings FROM lexical_postings WHERE term = ANY(%s)",
        (TextArray(terms),),
        binary=True,
    )


def _select_landing(connection: Connection, terms: Sequence[str]) -> psycopg.Cursor[tuple[bytes, int, list[int]]]:
    counts = sql.SQL(", ").join(sql.SQL("coalesce((terms ->> {})::int, 0)").format(sql.Literal(t)) for t in terms)
    query = sql.SQL(
        "SELECT pg_catalog.uuid_send(content_hash), length, ARRAY[{}]::int[] FROM lexical_landing WHERE terms ?| {}"
    ).format(counts, sql.Placeholder())
    return connection.execute(query, (TextArray(terms),), binary=True)


def _highest(scores: Floats, count: int) -> list[int]:
    """The positions of the highest scores above 0, in no order."""
    places = np.flatnonzero(scores)
    if len(places) > count:
        places = places[np.argpartition(scores[places], -count)[-count:]]
    return [int(place) for place in places]
