"""Postings as bytes: whatever is written is read again, in the least space of the forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.lexical import postings
from vector_pipeline.store.lexical.bm25 import packed
from vector_pipeline.store.lexical.postings import decoded, decoded_together, encoded

TEXTS = 100_000
# Gaps and frequencies beside the limits of each form, and any others.
GAPS = st.one_of(st.sampled_from([1, 62, 63, 64, 126, 127, 4_095, 4_096, 8_190, 8_191]), st.integers(1, 20_000))
FREQUENCIES = st.one_of(st.sampled_from([1, 2, 3, 4, 6, 7, 15, 16, 30, 31, 255]), st.integers(1, 255))
POSTINGS = st.lists(st.tuples(GAPS, FREQUENCIES), min_size=1, max_size=40)


def of_pairs(pairs: list[tuple[int, int]], first: int = 0) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    ordinals = np.cumsum([gap for gap, _ in pairs]) - pairs[0][0] + first
    return packed(ordinals, np.array([frequency for _, frequency in pairs]))


@given(st.lists(st.tuples(POSTINGS, st.integers(0, 5_000)), min_size=1, max_size=6))
def test_what_is_written_is_read(terms: list[tuple[list[tuple[int, int]], int]]) -> None:
    written = [(f"term{place}", of_pairs(pairs, first)) for place, (pairs, first) in enumerate(terms)]
    found = list(encoded(written, 1 << 20))
    assert [one.term for one in found] == [name for name, _ in written]
    for one, (_, expected) in zip(found, written, strict=True):
        ordinals, frequencies = decoded(one.data)
        assert packed(ordinals, frequencies).tolist() == expected.tolist()
        assert one.texts == len(expected)
        assert len(one.data) <= 1 + 4 * len(expected)


@given(st.lists(st.tuples(POSTINGS, st.integers(0, 5_000)), max_size=8), st.binary(min_size=1).filter(any))
def test_rows_are_decoded_together_as_alone(terms: list[tuple[list[tuple[int, int]], int]], dense: bytes) -> None:
    written = [(f"term{place}", of_pairs(pairs, first)) for place, (pairs, first) in enumerate(terms)]
    rows = [one.data for one in encoded(written, 1 << 20)]
    rows[1:1] = [bytes([postings.DENSE]) + dense]
    rows[3:3] = [bytes([postings.ABSOLUTE]) + of_pairs([(3, 1), (700, 255)]).astype("<u4").tobytes()]
    expected = [packed(*decoded(data)).tolist() for data in rows]
    together, counts = decoded_together(rows)
    assert [part.tolist() for part in np.split(together, np.cumsum(counts)[:-1])] == expected


def test_a_frequent_term_has_a_byte_for_each_text() -> None:
    (one,) = encoded([("the", of_pairs([(2, 3)] * 500))], 1_000)
    assert (one.data[0], len(one.data), one.texts) == (postings.DENSE, 1_001, 500)
    assert decoded(one.data)[0].tolist() == list(range(0, 1_000, 2))


@pytest.mark.parametrize(("gap", "form"), [(40, 1), (1_000, 2), (70_000, 4)])
def test_the_form_is_the_smallest(gap: int, form: int) -> None:
    (one,) = encoded([("term", of_pairs([(gap, 1)] * 20))], 1 << 22)
    assert (one.data[0], len(one.data)) == (form, 1 + 20 * form)


def test_many_terms_are_encoded_in_parts() -> None:
    written = [(f"term{n}", of_pairs([(n + 1, n % 9 + 1)] * 20)) for n in range(30)]
    found = [packed(*decoded(one.data)).tolist() for one in encoded(written, TEXTS, at_once=50)]
    assert found == [expected.tolist() for _, expected in written]


@pytest.mark.parametrize(
    "pairs", [[(1, 1)] * 9, [(50, 5), (130, 200), (63, 1)], [(5_000, 16), (4_095, 1)], [(70_000, 9)]]
)
def test_postgres_reads_the_same(connection: Connection, pairs: list[tuple[int, int]]) -> None:
    (one,) = encoded([("term", of_pairs(pairs, 3))], 90_000)
    lengths = np.arange(90_000).astype("<u2")
    query = "SELECT ordinal, frequency, length FROM lexical_decoded(%s, %s) ORDER BY ordinal"
    ordinals, frequencies = decoded(one.data)
    expected = zip(ordinals.tolist(), frequencies.tolist(), lengths[ordinals].tolist(), strict=True)
    assert connection.execute(query, (one.data, lengths.tobytes())).fetchall() == list(expected)
