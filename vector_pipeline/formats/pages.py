"""The pages of a document: remove headers and footers, and join the pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import regex

_MARKS = regex.compile(r"[#*_`>\\]+")
_HEADING = regex.compile(r"\s*#{1,6}\s")
# A page number at either end of a line, by itself or beside a running title: `12 Annual report`, `Page 3 of 10`.
_NUMBER_AT_END = regex.compile(r"\A\W*(\d{1,5})\b|\b(\d{1,5})\W*\Z|\b(\d{1,5})(?= (?:of|von|de|sur|di) \d|/\d)")
_ROMAN = regex.compile(r"[ivxlc]{1,7}")
_MAX_NUMBERED_CHARACTERS = 80

# The number of lines at the top and bottom of a page that may be headers or footers, and of pages that must have one.
_EDGE_LINES = 3
_MIN_PAGES = 3
_MAX_HEADER_CHARACTERS = 160

# If headers and footers would be more than this share of a page, they are its content and stay.
_MAX_SHARE_OF_PAGE = 0.4


def without_headers(pages: Sequence[str]) -> list[str]:
    """The pages without the lines that occur at the top or bottom of many of them.

    Such a line is the same on every page, or has a number that grows with the pages. The first occurrence of a heading
    is kept, and a page with little else keeps its lines.
    """
    lines = [page.split("\n") for page in pages]
    edges = [_edges(of_page, number) for number, of_page in enumerate(lines)]
    counts = Counter(key for of_page in edges for key in {key for keys in of_page.values() for key in keys})
    repeated = {key for key, count in counts.items() if count >= _MIN_PAGES}
    seen: set[_Key] = set()
    kept = []
    for of_page, of_edges in zip(lines, edges, strict=True):
        gone = set()
        for number, keys in of_edges.items():
            found = keys & repeated
            if found and (found & seen or not _HEADING.match(of_page[number])):
                gone.add(number)
            seen |= found
        if sum(len(of_page[number]) for number in gone) > _MAX_SHARE_OF_PAGE * sum(map(len, of_page)):
            gone = {number for number in gone if not any(map(str.isalpha, of_page[number]))}
        kept.append("\n".join(line for number, line in enumerate(of_page) if number not in gone))
    return kept


_Key = tuple[str, int | None]


def _edges(lines: Sequence[str], page: int) -> dict[int, set[_Key]]:
    """The lines at both ends of a page, by line number, in the forms for comparison."""
    filled = [number for number, line in enumerate(lines) if line.strip()]
    found = {}
    for number in {*filled[:_EDGE_LINES], *filled[-_EDGE_LINES:]}:
        line = lines[number].strip()
        if len(line) <= _MAX_HEADER_CHARACTERS and not line.startswith(("|", "```")):
            plain = _MARKS.sub("", line).strip().lower()
            found[number] = _keys(plain, page, is_heading=_HEADING.match(line) is not None)
    return found


def _keys(line: str, page: int, *, is_heading: bool) -> set[_Key]:
    keys: set[_Key] = {(line, None)} if any(map(str.isalpha, line)) else set()
    if is_heading or len(line) > _MAX_NUMBERED_CHARACTERS:
        return keys
    if _ROMAN.fullmatch(line):
        keys.add(("roman", None))
    for match in _NUMBER_AT_END.finditer(line):
        group = match.lastindex or 0
        rest = line[: match.start(group)] + "\0" + line[match.end(group) :]
        keys.add((rest, int(match[group]) - page))
    return keys


def joined(pages: Sequence[str]) -> tuple[str, list[int]]:
    """The pages as one text, and the offset of each. No blank line breaks a sentence that continues on the next page."""
    text = ""
    parts: list[str] = []
    starts = []
    length = 0
    for page in pages:
        page = page.strip("\n").rstrip()
        if page and text:
            between = "\n" if text[-1].islower() and page[0].islower() else "\n\n"
            parts.append(between)
            length += len(between)
        starts.append(length)
        parts.append(page)
        length += len(page)
        text = page or text
    return "".join(parts), starts
