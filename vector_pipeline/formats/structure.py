"""Give plain text of a page the headings and tables that another reading of the page found.

The words and their order are those of the plain text. A heading or table is taken over if its own words stand there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import regex

_WORD = regex.compile(r"\w+")
_HEADING = regex.compile(r"#{1,6} ")
_RULE = regex.compile(r"[|\s:-]+")

# The rows of a table that must be found, and the words between them that may belong to none, each as a share.
_ROWS_FOUND = 0.8
_OTHER_WORDS = 0.2


def with_structure(plain: str, marked: str) -> str:
    """The plain text of a page with the headings and tables of its Markdown."""
    page = _Page(plain.split("\n"))
    for block in _blocks(marked.split("\n")):
        if block[0].startswith("|"):
            page.take_table(block)
        else:
            page.take_heading(block[0])
    return "\n".join(page.lines())


def _blocks(lines: Sequence[str]) -> list[list[str]]:
    """The headings and tables of Markdown, each as its lines."""
    blocks: list[list[str]] = []
    inside = False
    for line in lines:
        is_row = line.startswith("|")
        if is_row and inside:
            blocks[-1].append(line)
        elif is_row or _HEADING.match(line):
            blocks.append([line])
        inside = is_row
    return blocks


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


class _Page:
    """The lines of a page, their words in order, and what stands instead of some of the lines."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._words: list[str] = []
        self._line_of: list[int] = []
        for number, line in enumerate(lines):
            found = _words(line)
            self._words += found
            self._line_of += [number] * len(found)
        self._places: dict[str, list[int]] = {}
        for at, word in enumerate(self._words):
            self._places.setdefault(word, []).append(at)
        self._instead: dict[int, list[str]] = {}

    def lines(self) -> list[str]:
        """The lines, with blank lines around what was taken over."""
        out: list[str] = []
        for number, line in enumerate(self._lines):
            if number in self._instead:
                out += ["", *self._instead[number], ""] if self._instead[number] else []
            else:
                out.append(line)
        return out

    def take_heading(self, heading: str) -> None:
        """Write lines that hold exactly the words of a heading as that heading."""
        words = _words(heading)
        for at in self._found(words, 0):
            first, last = self._line_of[at], self._line_of[at + len(words) - 1]
            begins = at == 0 or self._line_of[at - 1] < first
            ends = at + len(words) == len(self._words) or self._line_of[at + len(words)] > last
            if begins and ends and self._replace(first, last, [heading]):
                return

    def take_table(self, rows: Sequence[str]) -> None:
        """Write the lines that hold the rows of a table as that table."""
        filled = [words for row in rows if not _RULE.fullmatch(row) and (words := _words(row))]
        begin = end = -1
        found = count = 0
        for words in filled:
            at = next(self._found(words, max(0, end)), None)
            if at is None:
                continue
            begin = at if begin < 0 else begin
            end = at + len(words)
            found += 1
            count += len(words)
        if found >= max(2, _ROWS_FOUND * len(filled)) and end - begin - count <= _OTHER_WORDS * count:
            self._replace(self._line_of[begin], self._line_of[end - 1], list(rows))

    def _found(self, words: Sequence[str], start: int) -> Iterator[int]:
        """Yield where these words stand one after another."""
        if words:
            for at in self._places.get(words[0], ()):
                if at >= start and self._words[at : at + len(words)] == words:
                    yield at

    def _replace(self, first: int, last: int, lines: list[str]) -> bool:
        numbers = range(first, last + 1)
        if any(number in self._instead for number in numbers):
            return False
        self._instead.update({number: [] for number in numbers})
        self._instead[first] = lines
        return True
