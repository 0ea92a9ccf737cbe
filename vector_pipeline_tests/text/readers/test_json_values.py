"""JSON that is read as a stream is what the standard library reads at once, in little memory."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.readers import ReaderOptions, read_documents
from vector_pipeline.text.readers.json_values import LARGE, MAX_PARTS, elements, parse_line

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _cut(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


@given(VALUES, st.integers(1, 40), st.sampled_from([None, 2]), st.booleans())
def test_a_text_in_pieces_has_the_values_of_the_whole(value: Any, size: int, indent: int | None, escaped: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    assert list(elements(_cut(text, size))) == (value if isinstance(value, list) else [value])


@given(
    st.lists(VALUES, min_size=1),
    st.integers(1, 40),
    st.integers(0, 1_000),
    st.sampled_from(['"', ",", "]", "}", "x", ""]),
)
def test_a_broken_text_is_refused_at_the_place_that_the_standard_library_names(
    value: list[Any], size: int, place: int, sign: str
) -> None:
    text = json.dumps(value, indent=1)
    place %= len(text)
    text = text[:place] + sign + text[place + 1 :]
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        with pytest.raises(FileRejected, match=rf"at line {error.lineno:,}, column {error.colno:,}\)"):
            list(elements(_cut(text, size)))
    else:
        assert list(elements(_cut(text, size))) == (whole if isinstance(whole, list) else [whole])


@pytest.mark.parametrize(
    "text", ["", " ", "[", "[1", "[1,", "[1 2]", "[1]]", "[1] 2", "{} {}", '["a', "nul", "[,]", "[1,]"]
)
def test_what_is_no_json_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    with pytest.raises(FileRejected) as refused:
        list(elements(_cut(text, 1)))
    assert f"at line 1, column {expected.value.colno})" in str(refused.value)


PIECE = 1 << 12


class Taken:
    """The pieces of a text, and how many of its characters were taken."""

    def __init__(self, text: str) -> None:
        self.characters = 0
        self._text = text

    def __iter__(self) -> Iterator[str]:
        for piece in _cut(self._text, PIECE):
            self.characters += len(piece)
            yield piece


def test_a_list_is_read_on_only_when_more_of_it_is_wanted() -> None:
    record = json.dumps({"text": "A record.", "of": {"x": {}, "y": []}})
    taken = Taken(f"[{', '.join([record] * 20_000)}]")
    for number, _ in enumerate(elements(taken), 1):
        assert taken.characters <= number * (len(record) + 2) + 2 * PIECE
    assert number == 20_000


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        ('{"text": "a", "of": [', "holds one record that has more than"),
        ('["a", {"text": "a", "of": [', "record 2 has more than"),
    ],
)
def test_a_record_of_very_many_values_is_refused_before_it_is_read(begin: str, reason: str) -> None:
    taken = Taken(begin + "[]," * 10 * LARGE)
    with pytest.raises(FileRejected, match=rf"{reason} {MAX_PARTS:,} values, .*divide it into records"):
        list(elements(taken))
    assert taken.characters <= 4 * LARGE


def test_a_line_of_very_many_values_is_refused() -> None:
    data = '"a"\n{"text": "a", "of": [' + "[]," * LARGE + "[]]}\n"
    with pytest.raises(FileRejected, match=rf"line 2 has more than {MAX_PARTS:,} values"):
        list(read_documents(io.BytesIO(data.encode()), "a.jsonl", ReaderOptions()))


def test_a_record_of_a_long_text_is_read() -> None:
    text = 'Some words, "quoted", in [brackets] {and braces}. ' * 60_000
    (document,) = read_documents(io.BytesIO(json.dumps([{"text": text}]).encode()), "a.json", ReaderOptions())
    assert document.text == text
    assert parse_line(json.dumps({"text": text}), "line 1 ") == {"text": text}


def test_where_a_text_ends_too_soon_is_told_once() -> None:
    with pytest.raises(FileRejected, match=r"\(unterminated string starting at line 1, column 11\)"):
        list(elements(['[{"text": "cut of']))
    with pytest.raises(FileRejected, match=r"\(unterminated string starting at column 10\)"):
        parse_line('{"text": "cut of', "line 2 ")
