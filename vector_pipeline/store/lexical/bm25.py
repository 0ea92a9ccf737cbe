"""BM25, and postings as the table has them. No SQL here.

score(text) = sum over the question's terms of idf * tf / (tf + K1 * (1 - B + B * length / mean length)), with
idf = ln(1 + (N - df + 0.5) / (df + 0.5)) (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009; the idf
as Lucene has it, which is never negative).
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np

K1, B = 1.2, 0.75

# A posting of four bytes: an ordinal, and below it a frequency of one byte.
FREQUENCY_BITS = 8
MAX_FREQUENCY = (1 << FREQUENCY_BITS) - 1
MAX_TEXTS_IN_SEGMENT = 1 << (32 - FREQUENCY_BITS)
MAX_LENGTH = (1 << 16) - 1

# A term in more than this share of a segment's texts has a byte for each text, which takes as much room on the whole,
# and is summed many times as fast.
FREQUENT_SHARE = 1 / 16

Packed = np.ndarray[tuple[int], np.dtype[np.uint32]]
Int32s = np.ndarray[tuple[int], np.dtype[np.int32]]
Lengths = np.ndarray[tuple[int], np.dtype[np.uint16]]
TermPostings = tuple[str, Packed]
"""A term, and its postings in a segment, ordinals ascending."""
Floats = np.ndarray[tuple[int], np.dtype[np.float32]]


def idf(texts: int, holding: int) -> float:
    """The weight of a term that `holding` of `texts` hold."""
    return math.log(1 + (texts - min(holding, texts) + 0.5) / (holding + 0.5))


def packed(ordinals: np.ndarray[Any, Any], frequencies: np.ndarray[Any, Any]) -> Packed:
    """Postings of ordinals and frequencies, whole numbers of any type, both of shape (postings,)."""
    shifted = ordinals.astype(np.uint32) << np.uint32(FREQUENCY_BITS)
    return np.asarray(shifted | np.minimum(frequencies, MAX_FREQUENCY).astype(np.uint32), dtype=np.uint32)


def norms(lengths: Lengths, mean: float) -> Floats:
    """What each text's length adds to a frequency below the fraction line, shape (texts,)."""
    return np.asarray(K1 * (1 - B) + (K1 * B / mean) * lengths.astype(np.float32), dtype=np.float32)


def dense(postings: Packed, texts: int) -> bytes | None:
    """A byte for each of a segment's texts, its frequency, where a term is frequent in the segment; else None."""
    if len(postings) <= texts * FREQUENT_SHARE:
        return None
    frequencies = np.zeros(texts, dtype=np.uint8)
    frequencies[postings >> FREQUENCY_BITS] = postings & MAX_FREQUENCY
    return frequencies.tobytes()


def of_dense(data: bytes) -> Packed:
    """Postings of what `dense` gives."""
    frequencies = np.frombuffer(data, dtype=np.uint8)
    ordinals = np.flatnonzero(frequencies)
    return packed(ordinals, frequencies[ordinals])


class SegmentBuilder:
    """Texts and their terms, gathered for a segment. Takes some 8 bytes a posting."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self._lengths = array("i")
        self._ids: defaultdict[str, int] = defaultdict(count().__next__)
        self._terms = array("i")
        self._frequencies = array("i")
        self._distinct = array("i")

    def add(self, content_hash: bytes, length: int, frequencies: Mapping[str, int]) -> None:
        """Add a text; its ordinal is the number of those before it."""
        self.hashes.append(content_hash)
        self._lengths.append(length)
        self._distinct.append(len(frequencies))
        self._terms.extend(map(self._ids.__getitem__, frequencies))
        self._frequencies.extend(frequencies.values())

    @property
    def lengths(self) -> Lengths:
        """Of each text, shape (texts,)."""
        return np.minimum(np.array(self._lengths, dtype=np.int32), MAX_LENGTH).astype(np.uint16)

    def postings(self) -> Iterator[TermPostings]:
        """Each term's postings, the terms in the order of their code points."""
        names = sorted(self._ids)
        rank = np.empty(len(names), dtype=np.int32)
        rank[[self._ids[name] for name in names]] = np.arange(len(names), dtype=np.int32)
        of_term = rank[np.array(self._terms, dtype=np.int32)]
        order = np.argsort(of_term, kind="stable")
        ordinals = np.repeat(np.arange(len(self.hashes), dtype=np.uint32), np.array(self._distinct, dtype=np.int32))
        whole = packed(ordinals, np.array(self._frequencies, dtype=np.int32))[order]
        ends = np.cumsum(np.bincount(of_term, minlength=len(names))).tolist()
        start = 0
        for name, end in zip(names, ends, strict=True):
            yield name, whole[start:end]
            start = end
