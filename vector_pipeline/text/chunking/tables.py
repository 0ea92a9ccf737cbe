"""Tables of Markdown: their rows are not cut, and a chunk that begins behind the header of its table knows it."""

from __future__ import annotations

MOST_HEADER_CHARACTERS = 1_000


def row_beginning(text: str, cut: int) -> int | None:
    """The beginning of the row that a cut would go through; None where it goes through none."""
    line = text.rfind("\n", 0, cut) + 1
    return line if line < cut < len(text) and text[line] == "|" and text[cut - 1] != "\n" else None


class TableHeaders:
    """The headers of the tables that chunks begin in; to be asked for places that never fall."""

    def __init__(self, text: str) -> None:
        self._text = text
        # The row that was asked for last, and where its table begins: the way back ends there.
        self._row = -1
        self._first = -1

    def above(self, start: int) -> str:
        """The header of the table whose row begins at `start`; empty for its header itself, and outside tables."""
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
        return header if len(header) <= MOST_HEADER_CHARACTERS else ""
