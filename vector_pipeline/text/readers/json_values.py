"""JSON as its standard has it: one value, or the elements of a list as a stream.

What Python's parser accepts beyond the standard is refused. Numbers that a double cannot hold become text. The values of
a large text take up to 25 times its size in memory, so a value of more than `LARGE` characters may have at most
`MAX_PARTS` parts, and a list is never built as a whole.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from itertools import chain, count
from typing import Any

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.encodings.decode import clean
from vector_pipeline.text.readers.metadata import MAX_CHARACTERS

LARGE = 1 << 18
"""The parts of a longer value are counted before it is built."""

MAX_PARTS = MAX_CHARACTERS
"""The most parts of a large value. One with more parts would have too many characters for metadata."""

_MAX_DIGITS = 1_000

_SPACE = re.compile(r"[ \t\n\r]*+")
_PART = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)|([,\[{])', re.DOTALL)

# A text that was cut off is wrong at its end, at most a word or an escape before it.
_LONGEST_WORD = 16


def parse_line(text: str, where: str) -> Any:
    """The value of one line. `where` names the line in messages. Raises FileRejected."""
    _refuse_many_parts(text, 0, where)
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        raise _rejected(f"{where}is not JSON ({_lowered(error.msg)} at column {error.colno:,})") from error
    except (_NotJson, RecursionError) as error:
        raise _rejected(f"{where}{_reason(error)}") from error


def elements(pieces: Iterable[str]) -> Iterator[Any]:
    """The elements of a list, one after the other, or the one value of a text that holds no list. Raises FileRejected.

    `pieces` are the text. Only the present element is in memory.
    """
    window = _Window(iter(pieces))
    if window.next_character() != "[":
        yield window.value("")
    else:
        yield from _of_list(window)
    if window.next_character():
        raise window.rejected("extra data")


def _of_list(window: _Window) -> Iterator[Any]:
    window.skip()
    if window.next_character() == "]":
        window.skip()
        return
    for number in count(1):
        window.next_character()
        yield window.value(f"record {number:,} ")
        sign = window.next_character()
        if sign not in ("]", ","):
            raise window.rejected("expecting ',' delimiter")
        window.skip()
        if sign == "]":
            return


class _Window:
    """The part of a text that is being read."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = ""
        self._at = 0
        self._lines = 0
        """The number of lines that end before the window."""
        self._column = 0
        """The number of characters before the window in its first line."""

    def next_character(self) -> str:
        """The next character that is no white space, which is not taken; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def skip(self) -> None:
        """Take one character."""
        self._at += 1

    def value(self, where: str) -> Any:
        """Take a value. `where` names it in messages about its size."""
        where = where or "holds one record that "
        while True:
            try:
                value, end = _JSON.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut_off = error.pos >= len(self._text) - _LONGEST_WORD or error.msg.startswith("Unterminated")
                if cut_off:
                    # All of the window belongs to this value.
                    _refuse_many_parts(self._text, self._at, where)
                if not (cut_off and self._read_on()):
                    raise self.rejected(_lowered(error.msg), error.pos) from error
            except (_NotJson, RecursionError) as error:
                raise _rejected(_reason(error)) from error
            else:
                # A number at the end of the window may go on: 1e+ is taken for 1 and something else.
                if len(self._text) - end > _LONGEST_WORD or not self._read_on():
                    self._at = end
                    return value

    def rejected(self, problem: str, at: int | None = None) -> FileRejected:
        """The error for a problem at a position of the window, or at the present one."""
        at = self._at if at is None else at
        line = self._lines + self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at) + (0 if "\n" in self._text[:at] else self._column)
        return _rejected(f"is not JSON ({problem} at line {line:,}, column {column:,})")

    def _read_on(self) -> bool:
        """Forget what was taken, and read about as much as is left; returns False at the end of the text."""
        wanted = max(1, len(self._text) - self._at)
        more: list[str] = []
        while wanted > 0 and (piece := next(self._pieces, "")):
            more.append(piece)
            wanted -= len(piece)
        if not more:
            return False
        taken = self._text[: self._at]
        if "\n" in taken:
            self._lines += taken.count("\n")
            self._column = len(taken) - taken.rfind("\n") - 1
        else:
            self._column += len(taken)
        self._text, self._at = "".join(chain([self._text[self._at :]], more)), 0
        return True


def _refuse_many_parts(text: str, begin: int, where: str) -> None:
    if len(text) - begin <= LARGE:
        return
    parts = 0
    for part in _PART.finditer(text, begin):
        parts += part[1] is not None
        if parts > MAX_PARTS:
            raise FileRejected(
                f"{where}has more than {MAX_PARTS:,} values, which each chunk would carry; divide it into records, no "
                "record of the file was loaded"
            )


def _rejected(problem: str) -> FileRejected:
    return FileRejected(f"{problem}; fix it, no record of the file was loaded")


def _lowered(message: str) -> str:
    # Some end with the word that begins the place here: "Unterminated string starting at".
    return f"{message[0].lower()}{message[1:]}".removesuffix(" at")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, _NotJson) else "nests deeper than can be read"


class _NotJson(ValueError):
    """Something that Python's parser accepts but JSON does not have."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        name = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _NotJson(f"has the field '{clean(name[:100])[0]}' twice in one object")
    return found


def _constant(name: str) -> Any:
    raise _NotJson(f"is not JSON (it holds {name}; null is what JSON has for it)")


def _integer(digits: str) -> int | str:
    # Beyond 64 bits most JSON readers lose digits. Text keeps all of them.
    return int(digits) if len(digits) <= 20 and -(2**63) <= int(digits) < 2**64 else digits


class _Float(float):
    """A number that Python writes with other digits than the file. Ids use the digits of the file."""

    __slots__ = ("digits",)
    digits: str

    def __str__(self) -> str:
        return self.digits


def _number(digits: str) -> float | str:
    value = float(digits)
    if repr(value) == digits:
        return value
    if not math.isfinite(value) or not _is_exact(value, digits):
        return digits
    written = _Float(value)
    written.digits = digits
    return written


def _is_exact(value: float, digits: str) -> bool:
    """Whether a double equals the number exactly when it is written again."""
    try:
        return len(digits) <= _MAX_DIGITS and Decimal(repr(value)) == Decimal(digits)
    except InvalidOperation:
        return False  # the exponent is too large


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant, parse_int=_integer, parse_float=_number)
