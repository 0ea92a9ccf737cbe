"""The BM25 scores of the texts of one segment for the terms of a question. There is no SQL here.

Terms that are in few texts are summed text by text. Where their best texts score more than all frequent terms together
can add, no other text can be among the best, and only those texts get the scores of frequent terms (the idea of
MaxScore: Turtle and Flood, Query Evaluation: Strategies and Optimizations, 1995). Otherwise all texts get them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vector_pipeline.store.lexical import bm25
from vector_pipeline.store.lexical.bm25 import Floats, Int32s, Lengths
from vector_pipeline.store.lexical.postings import Bytes, decoded, dense_frequencies

# Texts whose frequent terms are summed at a time: the arrays of so many fit in a core's cache.
SUMMED_AT_ONCE = 1 << 15
# Each of so many scores is looked at for a lower bound of the best ones.
SAMPLED = 16
# Sums of float32 in another order differ by less.
TOLERANCE = 1e-3

Int64s = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Rare:
    """A term of the question: ordinals, ascending, and frequencies, both of shape (postings,)."""

    term: str
    weight: float
    ordinals: Int32s
    frequencies: Int32s

    def at(self, ordinals: Int64s) -> Floats:
        """Its frequency in some texts."""
        places = np.searchsorted(self.ordinals, ordinals)
        places[places == len(self.ordinals)] = 0
        return np.where(self.ordinals[places] == ordinals, self.frequencies[places], 0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Frequent:
    """A frequent term of the question: its frequency in each text, shape (texts,)."""

    term: str
    weight: float
    frequencies: Bytes

    def at(self, ordinals: Int64s) -> Floats:
        """Its frequency in some texts."""
        return self.frequencies[ordinals].astype(np.float32)


class SegmentScores:
    """The scores of the texts of a segment. `lengths` has the shape (texts,); `mean` is the mean length of all texts."""

    def __init__(self, lengths: Lengths, mean: float, postings: Sequence[tuple[str, float, bytes]]) -> None:
        self._lengths = lengths
        self._mean = mean
        self._rare: list[Rare] = []
        self._frequent: list[Frequent] = []
        self._scores: Floats | None = None
        """The scores of all texts, once they were needed."""
        for term, weight, data in postings:
            frequencies = dense_frequencies(data)
            if frequencies is None:
                self._rare.append(Rare(term, weight, *decoded(data)))
            else:
                self._frequent.append(Frequent(term, weight, frequencies))

    @property
    def _all(self) -> list[Rare | Frequent]:
        return [*self._rare, *self._frequent]

    def of(self, ordinals: Int64s) -> Floats:
        """The scores of some texts, shape (len(ordinals),)."""
        if self._scores is not None:
            return self._scores[ordinals]
        return self._sum(self._all, ordinals)

    def best(self, count: int) -> tuple[Int64s, Floats]:
        """The ordinals of the texts with the `count` highest scores above 0, in no order, and their scores."""
        if self._scores is None:
            scores = self._sum_of_rare()
            found = self._best_of_rare(scores, count)
            if found is not None:
                return found
            if self._frequent:
                self._add_frequent(scores)
            self._scores = scores
        places = highest(self._scores, count)
        return places, self._scores[places]

    def holding(self, terms: Sequence[str]) -> Int64s:
        """The ordinals of the texts that hold all of some terms of the question, ascending."""
        by_term = {one.term: one for one in self._all}
        found = [by_term[term] for term in terms if term in by_term]
        if len(found) < len(terms) or not found:
            return np.empty(0, dtype=np.int64)
        # Begin with the term that is in the fewest texts.
        found.sort(key=lambda one: len(one.frequencies))
        first = found[0]
        ordinals = (first.ordinals if isinstance(first, Rare) else np.flatnonzero(first.frequencies)).astype(np.int64)
        for one in found[1:]:
            ordinals = ordinals[one.at(ordinals) > 0]
        return ordinals

    def _best_of_rare(self, partial: Floats, count: int) -> tuple[Int64s, Floats] | None:
        """The same as `best`, by the texts with rare terms and their sums; None if others may be among them."""
        if not self._rare or not self._frequent:
            return None
        rest = sum(one.weight for one in self._frequent)
        places = np.flatnonzero(partial)
        if len(places) < count:
            return None
        scores = partial[places]
        least = float(np.partition(scores, len(scores) - count)[len(scores) - count])
        if least <= rest + TOLERANCE:
            return None
        places = places[scores >= least - rest - TOLERANCE]
        scores = partial[places] + self._sum(self._frequent, places)
        chosen = highest(scores, count)
        return places[chosen], scores[chosen]

    def _sum_of_rare(self) -> Floats:
        scores = np.zeros(len(self._lengths), dtype=np.float32)
        # The norm of a text is computed once, if more are needed than there are texts.
        of_all = None
        if sum(len(one.ordinals) for one in self._rare) > len(self._lengths):
            of_all = bm25.norms(self._lengths, self._mean)
        for one in self._rare:
            norms = bm25.norms(self._lengths[one.ordinals], self._mean) if of_all is None else of_all[one.ordinals]
            part = one.frequencies.astype(np.float32)
            part /= part + norms
            part *= np.float32(one.weight)
            scores[one.ordinals] += part
        return scores

    def _add_frequent(self, scores: Floats) -> None:
        for start in range(0, len(scores), SUMMED_AT_ONCE):
            place = slice(start, start + SUMMED_AT_ONCE)
            norms = bm25.norms(self._lengths[place], self._mean)
            for one in self._frequent:
                part = one.frequencies[place].astype(np.float32)
                part /= part + norms
                part *= np.float32(one.weight)
                scores[place] += part

    def _sum(self, terms: Sequence[Rare | Frequent], ordinals: Int64s) -> Floats:
        norms = bm25.norms(self._lengths[ordinals], self._mean)
        scores = np.zeros(len(ordinals), dtype=np.float32)
        for one in terms:
            frequencies = one.at(ordinals)
            scores += np.float32(one.weight) * frequencies / (frequencies + norms)
        return scores


def highest(scores: Floats, count: int) -> Int64s:
    """The places of the `count` highest scores above 0, in no order."""
    least = np.float32(0)
    if len(scores) > SAMPLED * SAMPLED * count:
        # Of any part of the scores, the last of the `count` best is a lower bound.
        sample = scores[::SAMPLED]
        least = np.partition(sample, len(sample) - count)[len(sample) - count]
    places = np.flatnonzero(scores >= least) if least > 0 else np.flatnonzero(scores)
    if len(places) > count:
        places = places[np.argpartition(scores[places], len(places) - count)[len(places) - count :]]
    return places
