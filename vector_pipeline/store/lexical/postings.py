"""The postings of a term in a segment, as bytes. There is no SQL here.

The first byte is the form of the others, which are little-endian.

- Form 0: a byte for each text of the segment, the frequency of the term in it.
- Forms 1, 2 and 4: entries of as many bytes as the form says. The lowest quarter of an entry's bits is a frequency, the
  others are the gap to the ordinal before it; that of the first one is its ordinal. A gap that does not fit is split
  over entries of frequency 0, and a frequency that does not fit over entries of gap 0. A term gets the form that takes
  the least space.
- Form 5: ordinal * 256 + frequency in four bytes, as indexes from before migration 26 have it.

The SQL function `lexical_decoded` (migrations) reads the same forms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vector_pipeline.store.lexical.bm25 import (
    FREQUENCY_BITS,
    MAX_FREQUENCY,
    Int32s,
    Packed,
    TermPostings,
    packed,
)

DENSE, ABSOLUTE = 0, 5
WIDTHS = (1, 2, 4)

# A term in more than this share of a segment's texts has a byte for each text, which is summed many times as fast. At a
# sixteenth that alone took a sixth of the room of English text and a third of Korean, at an eighth 0.05 and 0.23.
FREQUENT_SHARE = 1 / 8

# Each of the arrays of so many postings takes 2 MiB. With four times as many it takes longer, and more memory.
ENCODED_AT_ONCE = 1 << 18

Int64s = np.ndarray[tuple[int], np.dtype[np.int64]]
Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A term of a segment with its postings. `texts` is the number of texts that hold it."""

    term: str
    texts: int
    data: bytes


def encoded(terms: Iterable[TermPostings], texts: int, *, at_once: int = ENCODED_AT_ONCE) -> Iterator[Encoded]:
    """Encode the postings of terms, in their order, for a segment of so many texts. No term may be without postings.

    Terms are encoded together until they have `at_once` postings.
    """
    names: list[str] = []
    found: list[Packed] = []
    waiting = 0
    for name, postings in terms:
        names.append(name)
        found.append(postings)
        waiting += len(postings)
        if waiting >= at_once:
            yield from _encoded(names, found, texts)
            names, found, waiting = [], [], 0
    if names:
        yield from _encoded(names, found, texts)


def _encoded(names: Sequence[str], found: Sequence[Packed], texts: int) -> Iterator[Encoded]:
    counts = np.array([len(postings) for postings in found], dtype=np.int64)
    whole = np.concatenate(found)
    starts = np.cumsum(counts) - counts
    ordinals = (whole >> FREQUENCY_BITS).astype(np.int64)
    frequencies = (whole & MAX_FREQUENCY).astype(np.int64)
    gaps = np.diff(ordinals, prepend=0)
    gaps[starts] = ordinals[starts]
    sizes = np.array([width * np.add.reduceat(_entries(gaps, frequencies, width), starts) for width in WIDTHS])
    forms = np.array(WIDTHS)[sizes.argmin(axis=0)]
    forms[counts > texts * FREQUENT_SHARE] = DENSE
    data = {width: memoryview(_written(gaps, frequencies, np.repeat(forms == width, counts), width)) for width in WIDTHS}
    read = dict.fromkeys(WIDTHS, 0)
    for place, (name, form, count) in enumerate(zip(names, forms.tolist(), counts.tolist(), strict=True)):
        if form == DENSE:
            yield Encoded(name, count, bytes([DENSE]) + _dense(found[place], texts))
            continue
        first = read[form]
        read[form] += int(sizes[WIDTHS.index(form), place])
        yield Encoded(name, count, bytes([form]) + data[form][first : read[form]])


def _limits(width: int) -> tuple[int, int, int]:
    """The bits of a frequency, the largest frequency, and the largest gap of an entry."""
    bits = 2 * width
    return bits, (1 << bits) - 1, (1 << (6 * width)) - 1


def _entries(gaps: Int64s, frequencies: Int64s, width: int) -> Int64s:
    """The number of entries of each posting."""
    _, most, farthest = _limits(width)
    return np.asarray(np.maximum(gaps - 1, 0) // farthest + 1 + (frequencies - 1) // most)


def _written(gaps: Int64s, frequencies: Int64s, chosen: np.ndarray[Any, np.dtype[np.bool_]], width: int) -> bytes:
    """The entries of the chosen postings."""
    gaps, frequencies = gaps[chosen], frequencies[chosen]
    bits, most, farthest = _limits(width)
    before, after = np.maximum(gaps - 1, 0) // farthest, (frequencies - 1) // most
    ends = np.cumsum(before + 1 + after)
    entries = np.full(int(ends[-1]) if len(ends) else 0, farthest << bits, dtype=np.int64)
    own = ends - 1 - after
    entries[own] = ((gaps - before * farthest) << bits) | np.minimum(frequencies, most)
    longer = np.flatnonzero(after)
    if len(longer):
        count = after[longer]
        offsets = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        entries[np.repeat(own[longer] + 1, count) + offsets] = most
        entries[ends[longer] - 1] = frequencies[longer] - count * most
    return entries.astype(f"<u{width}").tobytes()


def _dense(postings: Packed, texts: int) -> bytes:
    frequencies = np.zeros(texts, dtype=np.uint8)
    frequencies[postings >> FREQUENCY_BITS] = postings & MAX_FREQUENCY
    return frequencies.tobytes()


def dense_frequencies(data: bytes) -> Bytes | None:
    """The frequency of the term in each text of the segment, shape (texts,); None if the form is another one."""
    return np.frombuffer(data, dtype=np.uint8, offset=1) if data[0] == DENSE else None


def decoded(data: bytes) -> tuple[Int32s, Int32s]:
    """Ordinals, ascending, and frequencies, both of shape (postings,)."""
    form = data[0]
    if form == DENSE:
        every = np.frombuffer(data, dtype=np.uint8, offset=1)
        ordinals = np.flatnonzero(every)
        return ordinals.astype(np.int32), every[ordinals].astype(np.int32)
    if form == ABSOLUTE:
        absolute = np.frombuffer(data, dtype="<u4", offset=1)
        return (absolute >> FREQUENCY_BITS).astype(np.int32), (absolute & MAX_FREQUENCY).astype(np.int32)
    bits, most, _ = _limits(form)
    entries = np.frombuffer(data, dtype=f"<u{form}", offset=1)
    gaps = entries >> bits
    of_entries, frequencies = np.cumsum(gaps, dtype=np.int32), (entries & most).astype(np.int32)
    if np.count_nonzero(gaps[1:]) + 1 == len(gaps) and frequencies.all():
        return of_entries.astype(np.int32, copy=False), frequencies
    starts = np.flatnonzero(np.diff(of_entries, prepend=-1))
    sums = np.add.reduceat(frequencies, starts)
    return of_entries[starts[sums > 0]].astype(np.int32, copy=False), sums[sums > 0].astype(np.int32, copy=False)


def decoded_together(rows: Sequence[bytes]) -> tuple[Packed, Int64s]:
    """The postings of several rows, one row behind the other, and the number of postings of each row."""
    forms = np.array([data[0] for data in rows])
    alone = {place: decoded(rows[place]) for place in np.flatnonzero((forms == DENSE) | (forms == ABSOLUTE)).tolist()}
    counts = np.zeros(len(rows), dtype=np.int64)
    for place, (ordinals, _) in alone.items():
        counts[place] = len(ordinals)
    found = []
    for width in WIDTHS:
        places = np.flatnonzero(forms == width)
        if len(places):
            postings, counts[places] = _decoded_together([rows[place] for place in places.tolist()], width)
            found.append((places, postings))
    ends = np.cumsum(counts)
    starts = ends - counts
    whole = np.empty(int(ends[-1]) if len(rows) else 0, dtype=np.uint32)
    for place, (ordinals, frequencies) in alone.items():
        whole[starts[place] : ends[place]] = packed(ordinals, frequencies)
    for places, postings in found:
        own = counts[places]
        whole[np.repeat(starts[places] - np.cumsum(own) + own, own) + np.arange(len(postings))] = postings
    return whole, counts


def _decoded_together(rows: Sequence[bytes], width: int) -> tuple[Packed, Int64s]:
    """The same for rows of one form with gaps."""
    bits, most, _ = _limits(width)
    entries = np.frombuffer(b"".join([memoryview(data)[1:] for data in rows]), dtype=f"<u{width}")
    sizes = np.array([len(data) - 1 for data in rows]) // width
    starts = np.cumsum(sizes) - sizes
    gaps = (entries >> bits).astype(np.int64)
    sums = np.cumsum(gaps)
    ordinals = sums - np.repeat(sums[starts] - gaps[starts], sizes)
    is_first = gaps > 0
    is_first[starts] = True
    first = np.flatnonzero(is_first)
    frequencies = np.add.reduceat((entries & most).astype(np.int64), first)
    first, frequencies = first[frequencies > 0], frequencies[frequencies > 0]
    counts = np.diff(np.searchsorted(first, starts), append=len(first))
    return packed(ordinals[first], frequencies), counts
