"""Markdown tables: rows are not cut, and a chunk that begins inside a table gets the header of that table."""

from __future__ import annotations

MAX_HEADER_CHARACTERS = 1_000


def row_beginning(text: str, cut: int) -> int | None:
    """The beginning of the table row that a cut would divide; None if it divides none."""
    line = text.rfind("\n", 0, cut) + 1
    return line if line < cut < len(text) and text[line] == "|" and text[cut - 1] != "\n" else None


class TableHeaders:
    """The headers of the tables in which chunks begin. Positions must be passed in ascending order."""

    def __init__(self, text: str) -> None:
        self._text = text
        # The last row that was passed, and the beginning of its table. The search backwards ends there.
        self._row = -1
        self._first = -1

    def above(self, start: int) -> str:
        """The header of the table whose row begins at `start`; empty for the header itself and outside tables."""
        text = self._text
        if text[start] != "|" or (start and text[start - 1] != "\n"):
            return ""
        first = start
        while first and first != self._row:
            previous = text.rfind("\n", 0, first - 1) + 1
            if text[previous] != "|":
                break
            first = previous
        if first == self._row:
            first = self._first
        self._row, self._first = start, first
        if first == start:
            return ""
        header = text[first : text.find("\n", first)]
        return header if len(header) <= MAX_HEADER_CHARACTERS else ""
