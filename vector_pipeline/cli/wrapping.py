"""Lines of a given width, in columns of a terminal: a Korean, Chinese or Japanese character takes two."""

from __future__ import annotations

import re

from rich.cells import cell_len

# White space and the word after it.
_WORDS = re.compile(r"(\s*)(\S+)")

# An excerpt reads this many characters of a text for each column that it may fill. A Korean syllable may be written as
# three characters, and takes two columns.
_CHARACTERS_PER_COLUMN = 2


def wrap(text: str, width: int, first: str = "", rest: str = "", *, break_words: bool = False) -> list[str]:
    """Lines of at most `width` columns, broken at white space. `first` and `rest` begin the first line and the others.

    A word that is longer than a line, such as a path, stays whole unless `break_words` says otherwise. White space
    inside a line stays as it is.
    """
    lines: list[str] = []
    line = begin = first
    for gap, word in _WORDS.findall(text.expandtabs()):
        if line != begin and cell_len(line) + cell_len(gap) + cell_len(word) > width:
            lines.append(line)
            line = begin = rest
        line += word if line == begin and lines else gap + word
        while break_words and cell_len(line) > width and (end := _fitting(line, width)) > len(begin):
            lines.append(line[:end])
            line, begin = rest + line[end:], rest
    return [*lines, line] if line != begin or not lines else lines


def excerpt(text: str, width: int, indent: str, lines: int) -> list[str]:
    """The beginning of a text in at most so many lines of `width` columns. An ellipsis ends it if there is more."""
    beginning = text[: _CHARACTERS_PER_COLUMN * width * lines]
    shown = wrap(beginning, width, indent, indent, break_words=True)
    if len(shown) <= lines and len(beginning) == len(text):
        return shown
    last = wrap(shown[:lines][-1].strip(), width - 2, indent, indent, break_words=True)[0]
    return [*shown[: min(len(shown), lines) - 1], f"{last} …"]


def _fitting(line: str, width: int) -> int:
    """The number of characters at the beginning of a line that fit."""
    columns = 0
    for index, character in enumerate(line):
        columns += cell_len(character)
        if columns > width:
            return index
    return len(line)
