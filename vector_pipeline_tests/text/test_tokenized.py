"""The tokens of a piece, counted from a text that was tokenized once, are those that the piece has by itself."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vector_pipeline.text import tokenized
from vector_pipeline.text.tokenized import TokenizedText
from vector_pipeline.text.tokens import tokenizer_for

TOKENIZER = tokenizer_for("text-embedding-3-small")

# What the encoding's pattern tells apart, and white space of every kind around it.
WORDS = "a Z é 한 국 語 の 1 ² Ⅳ ٣ word 12345 's 'LL don't <|endoftext|>".split(" ")
SIGNS = ". , ) ( ' \" ! ? 。 、 … — _ # ``` 😀 \u0301 \u200d 👨‍👩‍👧 .\n )\n\n".split(" ")
WHITE = [" ", "  ", "\n", "\n\n", " \n", "\t", "\u00a0", "\u3000", "\x85"]
PIECES = st.sampled_from([*WORDS, *SIGNS, *WHITE])
TEXTS = st.one_of(st.lists(PIECES, max_size=60).map("".join), st.text(max_size=120))


@settings(max_examples=600, deadline=None)
@given(text=TEXTS, places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=12))
def test_any_piece_is_counted_exactly(text: str, places: list[tuple[int, int]]) -> None:
    whole = TokenizedText(text, TOKENIZER)
    assert len(whole) == TOKENIZER.count(text)
    for place in places:
        start, stop = sorted(position % (len(text) + 1) for position in place)
        if start < stop:
            assert whole.count(start, stop) == TOKENIZER.count(text[start:stop])


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenized, "BLOCK_CHARACTERS", 16)
    monkeypatch.setattr(tokenized, "_NEAR", 4)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=12))
def test_blocks_make_no_difference(short_blocks: None, text: str, places: list[tuple[int, int]]) -> None:
    whole = TokenizedText(text, TOKENIZER)
    for place in places:
        start, stop = sorted(position % (len(text) + 1) for position in place)
        if start < stop:
            assert whole.count(start, stop) == TOKENIZER.count(text[start:stop])


@settings(deadline=None)
@given(text=TEXTS)
def test_tokens_begin_where_the_tokenizer_says(text: str) -> None:
    _, offsets = TOKENIZER.encoding.decode_with_offsets(TOKENIZER.encode(text)) if text else ("", [])
    assert list(TOKENIZER.starts(text)) == offsets
