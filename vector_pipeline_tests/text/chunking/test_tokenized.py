"""The tokens of a piece, counted from a text that was tokenized once, are those that the piece has by itself."""

from __future__ import annotations

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from vector_pipeline.text.chunking.tokenized import TokenizedText
from vector_pipeline.text.chunking.tokens import PATTERN, tokenizer_for, vocabulary

TOKENIZER = tokenizer_for("text-embedding-3-small")
TIKTOKEN = tiktoken.Encoding("cl100k_base", pat_str=PATTERN, mergeable_ranks=vocabulary(), special_tokens={})

# What the encoding's pattern tells apart, and white space of every kind around it.
WORDS = "a Z é 한 국 語 の 1 ² Ⅳ ٣ word 12345 's 'LL don't <|endoftext|>".split(" ")
SIGNS = ". , ) ( ' \" ! ? 。 、 … — _ # ``` 😀 \u0301 \u200d 👨‍👩‍👧 .\n )\n\n".split(" ")
WHITE = [" ", "  ", "\n", "\n\n", " \n", "\t", "\u00a0", "\u3000", "\x85"]
PIECES = st.sampled_from([*WORDS, *SIGNS, *WHITE])
TEXTS = st.one_of(st.lists(PIECES, max_size=60).map("".join), st.text(max_size=120))


@pytest.mark.slow
@settings(max_examples=600)
@given(text=TEXTS, places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=12))
def test_any_piece_is_counted_exactly(text: str, places: list[tuple[int, int]]) -> None:
    whole = TokenizedText(text, TOKENIZER)
    assert len(whole) == len(TIKTOKEN.encode_ordinary(text))
    for place in places:
        start, stop = sorted(position % (len(text) + 1) for position in place)
        if start < stop:
            assert whole.count(start, stop) == len(TIKTOKEN.encode_ordinary(text[start:stop]))


@pytest.mark.slow
@settings(max_examples=300)
@given(text=TEXTS, places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=12))
def test_blocks_make_no_difference(text: str, places: list[tuple[int, int]]) -> None:
    whole = TokenizedText(text, TOKENIZER, block=16, near=4)
    for place in places:
        start, stop = sorted(position % (len(text) + 1) for position in place)
        if start < stop:
            assert whole.count(start, stop) == len(TIKTOKEN.encode_ordinary(text[start:stop]))


@given(text=TEXTS)
def test_tokens_begin_where_the_tokenizer_says(text: str) -> None:
    _, offsets = TIKTOKEN.decode_with_offsets(TIKTOKEN.encode_ordinary(text)) if text else ("", [])
    assert list(TOKENIZER.starts(text)) == offsets


SPACES = st.sampled_from(
    [*WORDS, *SIGNS, *WHITE, "\r", "\r\n", "\x0b", "\x1c", "\u1680", "\u2028", "\u200b", "\x00|\x00"]
)


@pytest.mark.slow
@settings(max_examples=1_000)
@given(text=st.one_of(st.lists(SPACES, max_size=40).map("".join), st.text(max_size=60)))
def test_tokens_are_tiktokens_own(text: str) -> None:
    assert list(TOKENIZER.encode(text)) == TIKTOKEN.encode_ordinary(text)


@pytest.mark.slow
def test_every_character_is_taken_as_tiktoken_takes_it() -> None:
    # Of the large blocks of characters that are alike, and of what no version of Unicode has, only some.
    large = {*range(0x3400, 0xA000), *range(0xAC00, 0xD800), *range(0xE000, 0xF900)}
    codes = [code for code in range(0x20000) if code not in large] + [
        *range(0x3400, 0xD800, 97),
        *range(0xE000, 0x110000, 997),
    ]
    for first in range(0, len(codes), 64):
        characters = [chr(code) for code in codes[first : first + 64] if not 0xD800 <= code < 0xE000]
        text = "".join(f"a{c}b {c} {c}{c}x\n{c}\n {c}1 {c}.{c}'s{c}" for c in characters)
        assert list(TOKENIZER.encode(text)) == TIKTOKEN.encode_ordinary(text), characters


@pytest.mark.slow
@settings(max_examples=600)
@given(prefix=TEXTS, text=TEXTS)
def test_a_prefix_adds_exactly_the_tokens_that_the_whole_has_more(prefix: str, text: str) -> None:
    alone, together = (len(TIKTOKEN.encode_ordinary(part)) for part in (text, prefix + text))
    assert TOKENIZER.count_before(prefix, text) == together - alone
