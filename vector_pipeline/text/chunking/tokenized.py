"""A text tokenized once: the exact number of tokens that any piece of it has by itself.

The encoding works inside pre-tokens, so the counts on both sides of a place where one ends add up. A piece's tokens are
those of the text between the first and the last such place in it, and its two ends, of which only what lies outside
is tokenized again: nothing where it begins behind a line break and ends before white space.

What ends a pre-token is read off the encoding's pattern (`tokens.PATTERN`). Letters and numbers are those that were
ones in Unicode 3.2 already, and signs those that were none in any version: Python's Unicode and the tokenizer's differ.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import regex

from vector_pipeline.text.chunking.tokens import Int32s, Tokenizer

# Long texts are tokenized in blocks, so that no more than this is in Rust's and in Python's memory at once.
BLOCK_CHARACTERS = 256 * 1024

_SIGNS = frozenset(chr(code) for code in range(128) if not chr(code).isalnum() and not chr(code).isspace())
_ENDS_OF_WORDS = frozenset(chr(code) for code in range(128) if not chr(code).isalpha()) | frozenset(
    "。、！？「」『』（）…"
)
_ANCHOR = regex.compile(rf"\p{{L}}(?=[{regex.escape(''.join(sorted(_ENDS_OF_WORDS)))}])")

# How far from an end of a piece a place is looked for character by character, before a pattern looks everywhere.
_NEAR = 256
_MAX_SIGNS = 16


class TokenizedText:
    """A text and where its tokens begin. Positions are in characters; not to be shared by threads."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self.text = text
        self._tokenizer = tokenizer
        starts, self._estimated = _starts(text, tokenizer)
        # Elements of a memoryview are Python's integers, without an object of numpy's around each.
        self._starts = starts.data
        self._signs: dict[str, int] = {}

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self._starts)

    def tokens_before(self, position: int, low: int = 0) -> int:
        """How many tokens begin before a position, where `low` of them are known to."""
        return bisect_left(self._starts, position, low)

    def position_after(self, start: int, tokens: int, end: int) -> int:
        """The furthest position up to `end` such that about so many tokens lie between it and `start`."""
        index = self.tokens_before(start) + tokens
        return min(end, self._starts[index]) if index < len(self._starts) else end

    def position_before(self, stop: int, tokens: int) -> int:
        """The position such that about so many tokens lie between it and `stop`."""
        return self._starts[max(0, self.tokens_before(stop) - tokens)] if len(self._starts) else 0

    def count(self, start: int, stop: int) -> int:
        """The exact number of tokens of text[start:stop]."""
        if self._estimated and bisect_left(self._estimated, start + 1) < bisect_left(self._estimated, stop):
            return self._tokenizer.count(self.text[start:stop])
        first = self._first_end(start, stop)
        last = self._last_end(first, stop) if first is not None else None
        if first is None or last is None:
            return self._tokenizer.count(self.text[start:stop])
        head = self._tokenizer.count(self.text[start:first]) if start < first else 0
        low = self.tokens_before(first)
        return head + self.tokens_before(last, low) - low + self._tail(last, stop)

    def _tail(self, last: int, stop: int) -> int:
        if last == stop:
            return 0
        tail = self.text[last:stop]
        if stop - last > _MAX_SIGNS:
            return self._tokenizer.count(tail)
        # Nearly always a full stop or the like: the same few ones all over a text.
        found = self._signs.get(tail)
        if found is None:
            found = self._signs[tail] = self._tokenizer.count(tail)
        return found

    def _first_end(self, start: int, stop: int) -> int | None:
        """The first place found in text[start:stop] where a pre-token begins, in the text as in the piece."""
        text = self.text
        if start == 0 or (text[start - 1] == "\n" and not text[start].isspace()):
            return start
        return _first_anchor(text, start, stop)

    def _last_end(self, first: int, stop: int) -> int | None:
        """The last place found in text[first:stop] where a pre-token ends, in the text as in the piece."""
        text = self.text
        if stop == len(text):
            return stop
        following, ending = text[stop], text[stop - 1]
        if following.isspace() and not ending.isspace():
            # Of what is no white space only signs are joined with something behind them, which is line breaks.
            if following not in "\r\n" or _is_word(ending):
                return stop
            place = stop - 1
            while place > first and stop - place < _MAX_SIGNS and text[place - 1] in _SIGNS:
                place -= 1
            if ending in _SIGNS and place > first:
                if text[place - 1] == " ":
                    return place - 1  # a space goes with the signs behind it
                if _is_word(text[place - 1]):
                    return place
        return self._last_anchor(first, stop)

    def _last_anchor(self, start: int, end: int) -> int | None:
        text = self.text
        near = max(start, end - _NEAR)
        for position in range(end - 1, near, -1):
            if text[position] in _ENDS_OF_WORDS and _is_letter(text[position - 1]):
                return position
        return _last_anchor(text, start, near + 1) if near > start else None


def _first_anchor(text: str, start: int, end: int) -> int | None:
    return next((m.end() for m in _ANCHOR.finditer(text, start, end) if _is_letter(m[0])), None)


def _last_anchor(text: str, start: int, end: int) -> int | None:
    last = None
    for match in _ANCHOR.finditer(text, start, end):
        if _is_letter(match[0]):
            last = match.end()
    return last


def _is_letter(character: str) -> bool:
    return unicodedata.ucd_3_2_0.category(character)[0] == "L"


def _is_word(character: str) -> bool:
    return unicodedata.ucd_3_2_0.category(character)[0] in "LN"


def _starts(text: str, tokenizer: Tokenizer) -> tuple[Int32s, list[int]]:
    """Where tokens begin, and the places at which this is an estimate."""
    if len(text) <= BLOCK_CHARACTERS:
        return tokenizer.starts(text), []
    parts, estimated = [], []
    for begin, end, certain in _blocks(text):
        parts.append(tokenizer.starts(text[begin:end]) + np.int32(begin))
        if not certain:
            estimated.append(end)
    return np.concatenate(parts), estimated


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Pieces of a text, and whether a pre-token is certain to end where each does."""
    begin = 0
    while len(text) - begin > BLOCK_CHARACTERS:
        most = begin + BLOCK_CHARACTERS
        found = _last_anchor(text, most - _NEAR, most) or _last_anchor(text, begin + BLOCK_CHARACTERS // 2, most)
        # A megabyte of digits has no such place: the block ends anywhere, and pieces across it are counted themselves.
        yield begin, found or most, found is not None
        begin = found or most
    if begin < len(text):
        yield begin, len(text), True
