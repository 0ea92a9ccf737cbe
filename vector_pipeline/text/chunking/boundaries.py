"""Where a text may be cut: before headings, at blank lines, lines, sentences, words, and never inside a character.

Each function finds the last such place in a window. The work is linear in the length of any text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

import regex

# ATX headings, and the underlined ones of Markdown and reStructuredText. A title has at most 200 characters: a page
# of text above a line of dashes or behind a `#` is no heading, and every chunk would repeat it. Candidates are found
# by `str.find` and by patterns that begin with plain characters. A pattern tried at every line would take a third of
# the time of tokenizing.
_MARKED = re.compile(r"\n(#{1,6})[ \t]+(\S[^\n]*)")
_UNDERLINE = regex.compile(r"(?:={3,}|-{3,})[ \t]*(?:\n|\Z)")
_NO_TITLE = frozenset("#>|`-=")
MAX_TITLE_CHARACTERS = 200
_FENCE = regex.compile(r"[ ]{0,3}(?P<fence>```+|~~~+)[^\n]*(?:\n|\Z)")

# An end of a sentence: a full stop and white space (in Korean too), or a full stop of Chinese or Japanese, which needs
# no white space. Closing quotes and brackets belong to the sentence. Of a row of full stops only the first is tried,
# without backtracking: a page may be one such row.
SENTENCE = regex.compile(r"""(?<![.!?…])[.!?…]++["'”’»)\]]*+\s+|[。！？｡]+["'”’」』）】]*\s*""")
WHITE = regex.compile(r"\s+")
_GRAPHEME = regex.compile(r"\X")

# A list item or a numbered item: the best place to cut between lines.
_ITEM = regex.compile(r"\n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t])")


class Heading(NamedTuple):
    """A heading: the offset of its line, its level from 1, its title."""

    start: int
    level: int
    title: str


def find_fences(text: str) -> list[tuple[int, int]]:
    """The beginnings and ends of fenced code blocks, in order. An unclosed block ends with the text."""
    fences: list[tuple[int, int]] = []
    opened: regex.Match[str] | None = None
    for line in sorted({*_lines_with(text, "```"), *_lines_with(text, "~~~")}):
        match = _FENCE.match(text, line)
        if match is None:
            continue
        if opened is None:
            opened = match
        elif match["fence"].startswith(opened["fence"]):
            fences.append((opened.start(), match.end()))
            opened = None
    if opened is not None:
        fences.append((opened.start(), len(text)))
    return fences


def _lines_with(text: str, sign: str) -> Iterator[int]:
    """Yield the beginning of each line that contains a sign."""
    found = text.find(sign)
    while found >= 0:
        yield text.rfind("\n", 0, found) + 1
        end = text.find("\n", found)
        found = text.find(sign, end) if end >= 0 else -1


def find_headings(text: str, fences: list[tuple[int, int]]) -> list[Heading]:
    """The headings of a text, in order, except those inside fenced code."""
    found = [*_marked(text), *_underlined(text, "==="), *_underlined(text, "---")]
    found.sort()
    return [heading for heading in found if enclosing(fences, heading.start) is None] if fences else found


def _marked(text: str) -> Iterator[Heading]:
    first = _MARKED.match("\n" + text.partition("\n")[0]) if text.startswith("#") else None
    if first and len(first[2]) <= MAX_TITLE_CHARACTERS:
        yield Heading(0, len(first[1]), _title(first[2]))
    for match in _MARKED.finditer(text):
        if len(line := match[2]) <= MAX_TITLE_CHARACTERS:
            yield Heading(match.start() + 1, len(match[1]), _title(line))


def _title(line: str) -> str:
    """A title without closing marks: `## Title ##` gives `Title`, and `# C#` gives `C#`."""
    title = line.rstrip()
    bare = title.rstrip("#")
    return bare.rstrip() if bare.endswith((" ", "\t")) else title


def _underlined(text: str, sign: str) -> Iterator[Heading]:
    found = text.find("\n" + sign)
    while found >= 0:
        line = text.rfind("\n", max(0, found - MAX_TITLE_CHARACTERS - 1), found) + 1
        title = text[line:found]
        whole = line > 0 or found <= MAX_TITLE_CHARACTERS
        titled = title.strip() and title[0] not in _NO_TITLE and not title[0].isspace()
        if whole and titled and _UNDERLINE.match(text, found + 1):
            yield Heading(line, 1 if sign == "===" else 2, title.strip())
        found = text.find("\n" + sign, found + 1)


def enclosing(spans: list[tuple[int, int]], position: int) -> tuple[int, int] | None:
    """The span that contains a position after its first; None if none does. `spans` are in order without overlap."""
    index = bisect_right(spans, (position, -1)) - 1
    if index >= 0 and spans[index][0] < position < spans[index][1]:
        return spans[index]
    return None


Finder = Callable[[str, int, int], int | None]


def last_blank_line(text: str, low: int, high: int) -> int | None:
    """The end of the last blank line in text[low:high]."""
    found = text.rfind("\n\n", low, high)
    return found + 2 if found >= 0 else None


def last_item(text: str, low: int, high: int) -> int | None:
    """The beginning of the last list item in text[low:high]."""
    return _last(_ITEM, text, low, high)


def last_line(text: str, low: int, high: int) -> int | None:
    """The end of the last line in text[low:high]."""
    found = text.rfind("\n", low, high)
    return found + 1 if found >= 0 else None


def last_sentence(text: str, low: int, high: int) -> int | None:
    """The end of the last sentence in text[low:high], including the white space after it."""
    return _last(SENTENCE, text, low, high)


def last_word(text: str, low: int, high: int) -> int | None:
    """The end of the last white space in text[low:high]."""
    return _last(WHITE, text, low, high)


def _last(pattern: regex.Pattern[str], text: str, low: int, high: int) -> int | None:
    last = None
    for match in pattern.finditer(text, low, high):
        if match.end() > low:
            last = match.end()
    return last


def last_grapheme(text: str, low: int, high: int) -> int | None:
    """The last boundary between graphemes (characters as a reader sees them) in text[low:high]; `low` must be one."""
    if high >= len(text):
        return high
    # A little more than the window, because only the text after a grapheme shows whether it has ended.
    limit = min(len(text), high + 64)
    last, begin, size = None, low, _PIECE
    while True:
        # In pieces: to find the end of a flag, the pattern counts flag letters from the beginning of their row.
        stop = min(limit, begin + size)
        ends = [begin + match.end() for match in _GRAPHEME.finditer(text[begin:stop])]
        if stop < limit:
            ends.pop()  # it may go on
        fitting = bisect_right(ends, high)
        last = ends[fitting - 1] if fitting else last
        if stop == limit or fitting < len(ends):
            return last
        size = _PIECE if ends else 2 * size
        begin = ends[-1] if ends else begin


_PIECE = 512
