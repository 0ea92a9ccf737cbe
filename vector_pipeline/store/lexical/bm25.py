"""BM25, and the postings of a new segment. There is no SQL here.

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

# A posting in memory has four bytes: an ordinal, and a frequency in the lowest byte.
FREQUENCY_BITS = 8
MAX_FREQUENCY = (1 << FREQUENCY_BITS) - 1
MAX_TEXTS_IN_SEGMENT = 1 << (32 - FREQUENCY_BITS)
MAX_LENGTH = (1 << 16) - 1

Packed = np.ndarray[tuple[int], np.dtype[np.uint32]]
Int32s = np.ndarray[tuple[int], np.dtype[np.int32]]
Lengths = np.ndarray[tuple[int], np.dtype[np.uint16]]
TermPostings = tuple[str, Packed]
"""A term and its postings in a segment, in the order of ordinals."""
Floats = np.ndarray[tuple[int], np.dtype[np.float32]]


def idf(texts: int, holding: int) -> float:
    """The weight of a term that occurs in `holding` of `texts` texts."""
    return math.log(1 + (texts - min(holding, texts) + 0.5) / (holding + 0.5))


def packed(ordinals: np.ndarray[Any, Any], frequencies: np.ndarray[Any, Any]) -> Packed:
    """Pack ordinals and frequencies, integers of any type and of shape (postings,), into postings."""
    shifted = ordinals.astype(np.uint32) << np.uint32(FREQUENCY_BITS)
    return np.asarray(shifted | np.minimum(frequencies, MAX_FREQUENCY).astype(np.uint32), dtype=np.uint32)


def norms(lengths: Lengths, mean: float) -> Floats:
    """The part of BM25's denominator that depends on the length of each text, shape (texts,)."""
    return np.asarray(K1 * (1 - B) + (K1 * B / mean) * lengths.astype(np.float32), dtype=np.float32)


class SegmentBuilder:
    """Collects texts and their terms for a segment. It takes about 8 bytes a posting."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self._lengths = array("i")
        self._ids: defaultdict[str, int] = defaultdict(count().__next__)
        self._terms = array("i")
        self._frequencies = array("i")
        self._distinct = array("i")

    def add(self, content_hash: bytes, length: int, frequencies: Mapping[str, int]) -> None:
        """Add a text. Its ordinal is the number of texts before it."""
        self.hashes.append(content_hash)
        self._lengths.append(length)
        self._distinct.append(len(frequencies))
        self._terms.extend(map(self._ids.__getitem__, frequencies))
        self._frequencies.extend(frequencies.values())

    @property
    def lengths(self) -> Lengths:
        """The length of each text, shape (texts,)."""
        return np.minimum(np.array(self._lengths, dtype=np.int32), MAX_LENGTH).astype(np.uint16)

    def postings(self) -> Iterator[TermPostings]:
        """Yield the postings of each term, in the order of the terms' code points."""
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
