"""Where a text may be cut: before headings, at blank lines, lines, sentences, words, and never inside a character.

Each function looks for the last such place in a window, so the work is linear in the text whatever it holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import regex

# ATX headings, and the underlined ones of Markdown and reStructuredText. A title has at most 200 characters: a page
# of text above a line of dashes is no heading.
_HEADING = regex.compile(
    r"^(?:(?P<marks>\#{1,6})[ \t]+(?P<title>\S[^\n]*?)[ \t]*\#*[ \t]*$"
    r"|(?P<underlined>[^\s\#>|`\-=][^\n]{0,199})\n(?P<line>={3,}|-{3,})[ \t]*$)",
    regex.MULTILINE,
)
_FENCE = regex.compile(r"^[ ]{0,3}(?P<fence>```+|~~~+)[^\n]*\n", regex.MULTILINE)

# An end of a sentence: a full stop and white space (Korean ends its sentences so too), or the full stops of Chinese
# and Japanese, which need none. Closing quotes and brackets belong to the sentence.
SENTENCE = regex.compile(r"""[.!?…]+["'”’»)\]]*\s+|[。！？｡]+["'”’」』）】]*\s*""")
WHITE = regex.compile(r"\s+")
_GRAPHEME = regex.compile(r"\X")

# A list item, a numbered item or a line of a table: where a cut between lines does the least harm.
_ITEM = regex.compile(r"\n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t])")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: where its line begins, its level from 1, its title."""

    start: int
    level: int
    title: str


def find_fences(text: str) -> list[tuple[int, int]]:
    """Where fenced code blocks begin and end, in order; one that is not closed runs to the end of the text."""
    if "```" not in text and "~~~" not in text:
        return []
    fences: list[tuple[int, int]] = []
    opened: regex.Match[str] | None = None
    for match in _FENCE.finditer(text + "\n"):
        if opened is None:
            opened = match
        elif match["fence"].startswith(opened["fence"]):
            fences.append((opened.start(), min(match.end(), len(text))))
            opened = None
    if opened is not None:
        fences.append((opened.start(), len(text)))
    return fences


def find_headings(text: str, fences: list[tuple[int, int]]) -> list[Heading]:
    """The headings of a text, in order, fenced code left out."""
    if "#" not in text and "\n---" not in text and "\n===" not in text:
        return []
    found = []
    for match in _HEADING.finditer(text):
        if enclosing(fences, match.start()) is not None:
            continue
        if match["marks"]:
            found.append(Heading(match.start(), len(match["marks"]), match["title"].strip()))
        else:
            found.append(Heading(match.start(), 1 if match["line"][0] == "=" else 2, match["underlined"].strip()))
    return found


def enclosing(spans: list[tuple[int, int]], position: int) -> tuple[int, int] | None:
    """The span that a position lies inside (not at its beginning), of spans in order that do not overlap."""
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
    """The end of the last sentence in text[low:high], white space after it included."""
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
    """The last place in text[low:high] that is not inside a character as a reader sees it; `low` must be one."""
    if high >= len(text):
        return high
    last = None
    # One more than the window: whether a cluster goes on is only seen behind its end.
    for match in _GRAPHEME.finditer(text, low, min(len(text), high + 64)):
        if match.end() > high:
            break
        last = match.end()
    return last
