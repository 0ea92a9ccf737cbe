"""Texts ranked by the words of a question, with or without a filter. Words of a phrase in quotes must be in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from vector_pipeline.store.binary import UuidArray
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.lexical.ranking import WordRanking, rank_words
from vector_pipeline.store.search.filters import Passing
from vector_pipeline.text.terms import PhraseMatcher, Query, terms_of_phrase

# Texts that are checked first for each result: some belong to deleted files or do not pass the filter.
AHEAD = 4
FURTHER = 8
# The texts of so many candidates are read at a time and searched for a phrase.
READ_AT_ONCE = 2_000


@dataclass(slots=True)
class WordSearch:
    """The ranking of all texts by a question's words, within a filter. Scores are shares of the best possible score."""

    connection: Connection
    query: Query
    passes: Passing
    ranking: WordRanking = field(init=False)
    matcher: PhraseMatcher = field(init=False)

    def __post_init__(self) -> None:
        self.matcher = PhraseMatcher(self.query.phrases)
        self.ranking = rank_words(self.connection, self.query.terms)

    def best(self, k: int, *, phrases: bool = True) -> list[tuple[bytes, float]]:
        """The k best texts with a score above 0, by hash, that pass the filter and contain the phrases in quotes."""
        required = self.query.phrases if phrases else ()
        found: list[tuple[bytes, float]] = []
        for candidates in self._candidates(k, required):
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

    def _candidates(self, k: int, phrases: Collection[str]) -> Iterator[list[tuple[bytes, float]]]:
        """Yield all texts with a score that may contain some phrases, highest first, in growing portions."""
        # Those of the first MAX_TERMS are ranked.
        terms = {term for phrase in phrases for term in terms_of_phrase(phrase)} & set(self.ranking.terms)
        if self.passes.few is not None:
            scored = [(h, score) for h, score in self.ranking.of(self.passes.few).items() if score]
            yield from _portions(sorted(scored, key=lambda item: (-item[1], item[0])), AHEAD * k)
        elif terms:
            yield from _portions(self.ranking.holding(terms), AHEAD * k)
        else:
            yield from self._all_candidates(k)

    def _all_candidates(self, k: int) -> Iterator[list[tuple[bytes, float]]]:
        seen, count = 0, AHEAD * k
        while True:
            best = self.ranking.best(count)
            yield best[seen:]
            if len(best) < count:
                return
            seen, count = count, count * FURTHER

    def _passing(self, hashes: Collection[bytes], phrases: Collection[str]) -> set[bytes]:
        """The texts that belong to a file, pass the filter and contain the phrases."""
        if self.passes.few is not None and not phrases:
            return set(hashes)  # these are the few
        content = "pg_catalog.min(c.page_content)" if phrases else "NULL"
        rows = self.connection.execute(
            sql.SQL(
                "SELECT pg_catalog.uuid_send(c.content_hash), {} FROM chunks "
                "c WHERE c.content_hash = ANY(%(hashes)s) {} "
                "GROUP BY c.content_hash"
            ).format(sql.SQL(content), self.passes.limits.condition),
            {"hashes": UuidArray(hashes), **self.passes.limits.values},
            prepare=self.passes.limits.prepare,
        )
        return {row[0] for row in rows if not phrases or self.matcher.matches(row[1])}


def _portions(candidates: Sequence[tuple[bytes, float]], first: int) -> Iterator[list[tuple[bytes, float]]]:
    """Yield candidates in growing portions, of which none is so large that its texts take much memory."""
    start, count = 0, first
    while start < len(candidates):
        yield list(candidates[start : start + count])
        start, count = start + count, min(count * FURTHER, max(first, READ_AT_ONCE))
