"""A text that is tokenized once, and the exact number of tokens of any piece of it.

The encoding never joins characters of two pre-tokens (words, numbers, rows of signs). So the counts on both sides of the
end of a pre-token add up. For a piece, this module finds the first and the last such end in it. The count between them
is known from the whole text, and only the rest at both ends of the piece is tokenized again. There is no rest if the
piece begins after a line break and ends before white space.

Example: the text "Fast cars win races." and its piece "st cars win ra". Safe ends are after "st" and after "win". The
tokens of " cars win" are known; only "st" and " ra" are tokenized again.

The encoding's pattern (`tokens.PATTERN`) defines the ends of pre-tokens. Python and the tokenizer use different versions
of Unicode. So only characters that were letters or numbers in Unicode 3.2 count as such, and only ASCII characters that
never were either count as signs.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import regex

from vector_pipeline.text.chunking.tokens import Int32s, Tokenizer

# Long texts are tokenized in blocks of this size to limit the memory in Rust and Python.
BLOCK_CHARACTERS = 256 * 1024

_SIGNS = frozenset(chr(code) for code in range(128) if not chr(code).isalnum() and not chr(code).isspace())
_ENDS_OF_WORDS = frozenset(chr(code) for code in range(128) if not chr(code).isalpha()) | frozenset(
    "。、！？「」『』（）…"
)
_ANCHOR = regex.compile(rf"\p{{L}}(?=[{regex.escape(''.join(sorted(_ENDS_OF_WORDS)))}])")

# The distance from the end of a piece that is searched character by character. A pattern searches the rest.
NEAR_CHARACTERS = 256
_MAX_SIGNS = 16


class TokenizedText:
    """A text and the beginnings of its tokens. Positions are in characters. Threads must not share it.

    `block` and `near` have no effect on any count, only on the time that it takes: BLOCK_CHARACTERS, NEAR_CHARACTERS.
    """

    def __init__(
        self, text: str, tokenizer: Tokenizer, *, block: int = BLOCK_CHARACTERS, near: int = NEAR_CHARACTERS
    ) -> None:
        self.text = text
        self._tokenizer = tokenizer
        self._near = near
        starts, self._estimated = _starts(text, tokenizer, block, near)
        # Elements of a memoryview are plain Python integers, which are faster here than numpy's.
        self._starts = starts.data
        self._signs: dict[str, int] = {}

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self._starts)

    def tokens_before(self, position: int, low: int = 0) -> int:
        """The number of tokens that begin before a position; the caller knows that it is at least `low`."""
        return bisect_left(self._starts, position, low)

    def position_after(self, start: int, tokens: int, end: int) -> int:
        """The position, at most `end`, that lies about `tokens` tokens after `start`."""
        index = self.tokens_before(start) + tokens
        return min(end, self._starts[index]) if index < len(self._starts) else end

    def position_before(self, stop: int, tokens: int) -> int:
        """The position that lies about `tokens` tokens before `stop`."""
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
        # Nearly always a full stop or the like, so the same few counts are needed again and again.
        found = self._signs.get(tail)
        if found is None:
            found = self._signs[tail] = self._tokenizer.count(tail)
        return found

    def _first_end(self, start: int, stop: int) -> int | None:
        """A position near the start of text[start:stop] where a pre-token begins in both the text and the piece."""
        text = self.text
        if start == 0 or (text[start - 1] == "\n" and not text[start].isspace()):
            return start
        return _first_anchor(text, start, stop)

    def _last_end(self, first: int, stop: int) -> int | None:
        """A position near the end of text[first:stop] where a pre-token ends in both the text and the piece."""
        text = self.text
        if stop == len(text):
            return stop
        following, ending = text[stop], text[stop - 1]
        if following.isspace() and not ending.isspace():
            # Only signs join with white space after them, and only with line breaks.
            if following not in "\r\n" or _is_word(ending):
                return stop
            place = stop - 1
            while place > first and stop - place < _MAX_SIGNS and text[place - 1] in _SIGNS:
                place -= 1
            if ending in _SIGNS and place > first:
                if text[place - 1] == " ":
                    return place - 1  # a space joins the signs after it
                if _is_word(text[place - 1]):
                    return place
        return self._last_anchor(first, stop)

    def _last_anchor(self, start: int, end: int) -> int | None:
        text = self.text
        near = max(start, end - self._near)
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


def _starts(text: str, tokenizer: Tokenizer, block: int, near: int) -> tuple[Int32s, list[int]]:
    """The beginnings of tokens, and the positions around which they are an estimate."""
    if len(text) <= block:
        return tokenizer.starts(text), []
    parts, estimated = [], []
    for begin, end, certain in _blocks(text, block, near):
        parts.append(tokenizer.starts(text[begin:end]) + np.int32(begin))
        if not certain:
            estimated.append(end)
    return np.concatenate(parts), estimated


def _blocks(text: str, block: int, near: int) -> Iterator[tuple[int, int, bool]]:
    """Yield the begin and end of blocks of a text, and whether a pre-token certainly ends with the block."""
    begin = 0
    while len(text) - begin > block:
        most = begin + block
        found = _last_anchor(text, most - near, most) or _last_anchor(text, begin + block // 2, most)
        # A megabyte of digits has no such end. The block then ends anywhere, and `count` tokenizes pieces across it.
        yield begin, found or most, found is not None
        begin = found or most
    if begin < len(text):
        yield begin, len(text), True
