"""Texts ranked by the words of a question, with or without a filter. Words of a phrase in quotes must be in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from psycopg import sql

from vector_pipeline.store.binary import UuidArray
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.lexical.ranking import WordRanking, rank_words
from vector_pipeline.store.search.filters import Filter
from vector_pipeline.text.terms import Query, has_phrase

# Texts that are checked first for each result: some belong to deleted files or do not pass the filter.
AHEAD = 4
FURTHER = 8


@dataclass(slots=True)
class WordSearch:
    """The ranking of all texts by a question's words, within a filter. Scores are shares of the best possible score."""

    connection: Connection
    query: Query
    limits: Filter
    ranking: WordRanking = field(init=False)

    def __post_init__(self) -> None:
        self.ranking = rank_words(self.connection, self.query.terms)

    def best(self, k: int, *, phrases: bool = True) -> list[tuple[bytes, float]]:
        """The k best texts with a score above 0, by hash, that pass the filter and contain the phrases in quotes."""
        required = self.query.phrases if phrases else ()
        found: list[tuple[bytes, float]] = []
        for candidates in self._candidates(k):
            passing = self._passing([content_hash for content_hash, _ in candidates], required)
            found += [(h, self._share(score)) for h, score in candidates if h in passing]
            if len(found) >= k:
                break
        return found[:k]

    def shares(self, hashes: Collection[bytes]) -> dict[bytes, float]:
        """The scores of some texts."""
        return {h: self._share(score) for h, score in self.ranking.of(hashes).items()}

    def _share(self, score: float) -> float:
        return score / self.ranking.ideal if self.ranking.ideal else 0.0

    def _candidates(self, k: int) -> Iterator[list[tuple[bytes, float]]]:
        """Yield all texts with a score, highest first, in growing portions."""
        few = self.limits.few_texts(self.connection) if self.limits.limits else None
        if few is not None:
            scored = [(h, score) for h, score in self.ranking.of(few).items() if score]
            yield sorted(scored, key=lambda item: (-item[1], item[0]))
            return
        seen, count = 0, AHEAD * k
        while True:
            best = self.ranking.best(count)
            yield best[seen:]
            if len(best) < count:
                return
            seen, count = count, count * FURTHER

    def _passing(self, hashes: Collection[bytes], phrases: Collection[str]) -> set[bytes]:
        """The texts that belong to a file, pass the filter and contain the phrases."""
        content = "pg_catalog.min(c.page_content)" if phrases else "NULL"
        rows = self.connection.execute(
            sql.SQL(
                "SELECT pg_catalog.uuid_send(c.content_hash), {} FROM chunks "
                "c WHERE c.content_hash = ANY(%(hashes)s) {} "
                "GROUP BY c.content_hash"
            ).format(sql.SQL(content), self.limits.condition),
            {"hashes": UuidArray(hashes), **self.limits.values},
        )
        return {row[0] for row in rows if all(has_phrase(row[1], phrase) for phrase in phrases)}
