"""Add to one reading of a document the lines that only another reading of it has."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

import regex

_LETTER = regex.compile(r"[\p{L}\p{N}]+")
_WORD = regex.compile(r"\p{L}{2,}")
# Numbers of lists and headings, which one reading may have and the other not.
_LABEL = regex.compile(r"^\W*(?:(?:\d+(?:\.\d+)*[.)]?|(?:[A-Za-z]|[ivxlcIVXLC]+)[.)])\s)+")
# Marks of notes, and the targets of links.
_MARK = regex.compile(r"\[\^[^\]\s]+\]:?|\]\([^()\s]*\)")
_TARGET = regex.compile(r" <(?:[a-z]+://|(?:mailto|javascript):)[^<>\s]*>| <[^<>\s:]+\.\w{2,4}>")

# Lines are compared in pieces of this many letters. A line is lost if half of its pieces are nowhere, or both of two.
_PIECE = 12
# Fewer letters than these may stand anywhere, and say nothing of a place.
_SURE = 6
# A piece is looked for in as many letters behind the last one before it is looked for anywhere.
_WINDOW = 4_096
# After so many letters were searched, a second or two, the rest is not compared.
_MAX_SEARCHED = 2_000_000_000


def with_lost_lines(text: str, other: str) -> str:
    """Text with the lines of the other reading that it lacks, each behind what stands before it there.

    A table is taken over whole, if most of it is lacking. Formulas are not compared, because no two libraries write them
    alike.
    """
    reading = _Reading(text)
    added: dict[int, list[str]] = {}
    after = -1
    for block in _blocks(other):
        unlinked = _TARGET.sub("", block)
        letters = _letters(unlinked if block.startswith("|") else _LABEL.sub("", unlinked))
        if not _WORD.search(block) or "$" in block:
            continue
        pieces = _pieces(letters)
        places = [place for piece in pieces if (place := reading.find(piece)) >= 0]
        if 2 * len(places) > len(pieces) or (len(pieces) == 2 and places):
            after = reading.line_at(places[-1]) if len(letters) >= _SURE else after
        else:
            added.setdefault(after, []).append(block.strip())
        if reading.searched > _MAX_SEARCHED:
            break
    return reading.with_lines(added) if added else text


def _blocks(text: str) -> Iterator[str]:
    """Yield the lines of a text; the rows of a table as one."""
    rows: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line.startswith("|"):
            rows.append(line)
            continue
        if rows:
            yield "\n".join(rows)
            rows.clear()
        if line.strip():
            yield line


def _letters(line: str) -> str:
    return "".join(_LETTER.findall(_MARK.sub("", line).lower()))


def _pieces(letters: str) -> list[str]:
    ends = range(_PIECE, len(letters), _PIECE)
    return [*(letters[end - _PIECE : end] for end in ends), letters[-_PIECE:]]


class _Reading:
    """The lines of a text, and their letters in order."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        letters = [_letters(line) for line in self._lines]
        self._letters = "".join(letters)
        self._ends = list(accumulate(map(len, letters)))
        self._last = 0
        self.searched = 0

    def find(self, piece: str) -> int:
        """Where a piece stands among the letters; -1 if nowhere."""
        at = self._letters.find(piece, self._last, self._last + _WINDOW)
        if at < 0:
            self.searched += len(self._letters)
            at = self._letters.find(piece)
        if at >= 0 and len(piece) >= _SURE:
            self._last = at
        return at

    def line_at(self, place: int) -> int:
        """The number of the line that has the letter at a place; of the last row, if it is in a table."""
        line = bisect_right(self._ends, place)
        while (
            self._lines[line].startswith("|") and line + 1 < len(self._lines) and self._lines[line + 1].startswith("|")
        ):
            line += 1
        return line

    def with_lines(self, added: dict[int, list[str]]) -> str:
        """The text with blocks added behind lines, by their numbers; -1 is the beginning."""
        out = [f"{block}\n" for block in added.get(-1, [])]
        for number, line in enumerate(self._lines):
            out.append(line)
            for block in added.get(number, []):
                out += ["", block, ""]
        return "\n".join(out)
