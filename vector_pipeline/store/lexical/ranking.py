"""The exact BM25 scores of all texts for a question, also with frequent words.

The postings of the question's terms are summed here, in numpy: what Postgres does row by row in 100 ns is an addition.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import psycopg
from psycopg import sql

from vector_pipeline.store.binary import TextArray, UuidArray
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.lexical import bm25
from vector_pipeline.store.lexical.bm25 import Lengths
from vector_pipeline.store.lexical.scoring import SegmentScores

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


@dataclass(frozen=True, slots=True)
class WordRanking:
    """The BM25 scores of all texts for the terms of a question. No score can exceed `ideal`."""

    connection: Connection
    terms: Sequence[str]
    segments: dict[int, SegmentScores]
    landed: dict[bytes, tuple[_Landed, float]]
    """Texts in no segment yet, with their scores."""
    ideal: float

    def best(self, count: int) -> list[tuple[bytes, float]]:
        """The texts with the highest scores above 0, by hash, highest first; equal ones in the order of their hashes."""
        found = [(key, *scores.best(count)) for key, scores in self.segments.items()]
        return self._together(found, self.landed, count)

    def holding(self, terms: Collection[str]) -> list[tuple[bytes, float]]:
        """All texts that hold all of some terms of the question, like `best`."""
        wanted = [term for term in self.terms if term in terms]
        found = []
        for key, scores in self.segments.items():
            ordinals = scores.holding(wanted)
            found.append((key, ordinals, scores.of(ordinals)))
        places = [place for place, term in enumerate(self.terms) if term in terms]
        landed = {h: one for h, one in self.landed.items() if all(one[0].frequencies[place] for place in places)}
        return self._together(found, landed, sum(len(ordinals) for _, ordinals, _ in found) + len(landed))

    def of(self, hashes: Collection[bytes]) -> dict[bytes, float]:
        """The scores of some texts; 0 for one that has no term of the question."""
        found = dict.fromkeys(hashes, 0.0)
        rows = self.connection.execute(
            "SELECT pg_catalog.uuid_send(content_hash), segment, ordinal FROM lexical_texts "
            "WHERE content_hash = ANY(%s) AND segment = ANY(%s)",
            (UuidArray(hashes), list(self.segments)),
        ).fetchall()
        for key, scores in self.segments.items():
            placed = [(row[0], row[2]) for row in rows if row[1] == key]
            ordinals = np.array([ordinal for _, ordinal in placed], dtype=np.int64)
            found |= zip([h for h, _ in placed], scores.of(ordinals).tolist(), strict=True)
        return found | {h: self.landed[h][1] for h in found.keys() & self.landed.keys()}

    def _together(
        self,
        found: Iterable[tuple[int, np.ndarray, np.ndarray]],
        landed: dict[bytes, tuple[_Landed, float]],
        count: int,
    ) -> list[tuple[bytes, float]]:
        """The best of several segments and of the landed texts. A text that two loads wrote at once may be in both."""
        places = [
            (score, key, ordinal)
            for key, ordinals, scores in found
            for ordinal, score in zip(ordinals.tolist(), scores.tolist(), strict=True)
        ]
        places = sorted(places, key=lambda place: -place[0])[: count + len(landed)]
        rows = self.connection.execute(
            "SELECT pg_catalog.uuid_send(content_hash), segment, ordinal FROM lexical_texts "
            "JOIN unnest(%s::int[], %s::int[]) AS u (segment, ordinal) USING (segment, ordinal)",
            ([key for _, key, _ in places], [ordinal for _, _, ordinal in places]),
        )
        hashes = {(key, ordinal): content_hash for content_hash, key, ordinal in rows}
        best = {hashes[key, ordinal]: score for score, key, ordinal in places if (key, ordinal) in hashes}
        best |= {h: score for h, (_, score) in landed.items()}
        return sorted(best.items(), key=lambda item: (-item[1], item[0]))[:count]


def rank_words(connection: Connection, terms: Sequence[str]) -> WordRanking:
    """Rank all texts by the terms of a question. Call it inside a transaction with one snapshot (REPEATABLE READ)."""
    terms = terms[:MAX_TERMS]
    with connection.pipeline():
        stored = _select_postings(connection, terms)
        landing = _select_landing(connection, terms)
        totals = connection.execute(
            "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(length), 0) FROM lexical_landing"
        )
        segments = connection.execute("SELECT segment, texts, length FROM lexical_segments").fetchall()
        postings = stored.fetchall()
        landed = [_Landed(*row) for row in landing]
        landed_texts, landed_length = totals.fetchone() or (0, 0)
    texts = sum(row[1] for row in segments) + landed_texts
    mean = max(1.0, (sum(row[2] for row in segments) + int(landed_length)) / max(1, texts))
    holding = {term: sum(1 for text in landed if text.frequencies[place]) for place, term in enumerate(terms)}
    for term, _, count, _ in postings:
        holding[term] += count
    weights = {term: bm25.idf(texts, count) for term, count in holding.items()}
    lengths = _lengths(connection, {row[1] for row in postings}, {row[0] for row in segments})
    return WordRanking(
        connection,
        terms,
        {
            key: SegmentScores(found, mean, [(term, weights[term], data) for term, s, _, data in postings if s == key])
            for key, found in lengths.items()
        },
        {text.content_hash: (text, text.score(list(weights.values()), mean)) for text in landed},
        sum(weights.values()),
    )


def _select_postings(connection: Connection, terms: Sequence[str]) -> psycopg.Cursor[tuple[str, int, int, bytes]]:
    """Select (term, segment, number of texts, postings) of some terms."""
    return connection.execute(
        "SELECT term, segment, texts, postings FROM lexical_postings WHERE term = ANY(%(terms)s) UNION ALL "
        "SELECT t.term, s.segment, b.texts[p.place], b.postings[p.place] "
        "FROM lexical_segments s CROSS JOIN unnest(%(terms)s) AS t (term) "
        "CROSS JOIN LATERAL (SELECT b.terms, b.texts, b.postings FROM lexical_blocks b WHERE b.segment = s.segment "
        "AND b.first_term <= t.term ORDER BY b.first_term DESC LIMIT 1) AS b "
        "CROSS JOIN LATERAL (SELECT pg_catalog.array_position(b.terms, t.term)) AS p (place) "
        "WHERE p.place IS NOT NULL",
        {"terms": TextArray(terms)},
        binary=True,
    )


def _select_landing(connection: Connection, terms: Sequence[str]) -> psycopg.Cursor[tuple[bytes, int, list[int]]]:
    counts = sql.SQL(", ").join(sql.SQL("coalesce((terms ->> {})::int, 0)").format(sql.Literal(t)) for t in terms)
    query = sql.SQL(
        "SELECT pg_catalog.uuid_send(content_hash), length, ARRAY[{}]::int[] FROM lexical_landing WHERE terms ?| {}"
    ).format(counts, sql.Placeholder())
    return connection.execute(query, (TextArray(terms),), binary=True)


def _lengths(connection: Connection, wanted: Collection[int], standing: Collection[int]) -> dict[int, Lengths]:
    """The lengths of the texts of some segments. The connection keeps those of `standing`: a segment never changes."""
    kept = {key: lengths for key, lengths in connection.segment_lengths.items() if key in standing}
    unknown = [key for key in wanted if key not in kept]
    if unknown:
        rows = connection.execute(
            "SELECT segment, lengths FROM lexical_segments WHERE segment = ANY(%s)", (unknown,), binary=True
        )
        kept |= {key: np.frombuffer(data, dtype="<u2") for key, data in rows}
    connection.segment_lengths = kept
    return {key: kept[key] for key in wanted}
