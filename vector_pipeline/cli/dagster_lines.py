"""The output of Dagster's processes for `dev`: a failure is shown as its log line and its reason, without a stack trace.

The UI shows the stack traces.
"""

from __future__ import annotations

import re
from collections import Counter

# The beginning of a log record; colours come before it on a terminal.
_RECORD = re.compile(r"(?:\x1b\[[\d;]*m)*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_TRACE = re.compile(r"(Traceback \(most recent call last\)|Stack Trace:)")
_OURS = re.compile(r"(?:[\w.]+\.)?(?:TickFailed|Failure): (?P<reason>.+)")
_JOINING = ("The above exception", "During handling of", "Traceback", "Stack Trace", "^")
_TIME = re.compile(r"^[\d\-: +,.]+")


class DagsterLines:
    """Filters lines one by one. Use it from one thread."""

    def __init__(self) -> None:
        self._in_trace = False
        self._has_reason = False
        self._held: list[str] = []
        self._seen: Counter[str] = Counter()
        self._hidden = False

    def feed(self, line: str) -> list[str]:
        """Take one more printed line; returns the lines to show. Lines have no line ends."""
        if _RECORD.match(line):
            shown = self.end()
            self._in_trace = self._has_reason = False
            self._hidden = self._is_repeated(line)
            return shown if self._hidden else [*shown, line]
        plain = _COLOURS.sub("", line)
        if _TRACE.match(plain):
            self._in_trace = True
        if not (self._in_trace or _OURS.match(plain)):
            return [] if self._hidden else [line]
        return self._of_trace(plain)

    def end(self) -> list[str]:
        """The lines of the last failure that are still to be shown."""
        shown = [] if self._has_reason or self._hidden else self._held[-1:]
        self._held = []
        return shown

    def _of_trace(self, line: str) -> list[str]:
        ours = _OURS.match(line)
        if ours and not self._has_reason:
            self._has_reason = True
            return [] if self._hidden else [f"  {ours['reason']}"]
        if line.strip() and not line[0].isspace() and not line.startswith(_JOINING):
            self._held.append(f"  {line}")
        return []

    def _is_repeated(self, line: str) -> bool:
        """Whether to hide a repeated error line: it is shown the first, second, fourth, eighth … time."""
        plain = _COLOURS.sub("", line)
        if " ERROR " not in plain:
            return False
        text = _TIME.sub("", plain)
        self._seen[text] += 1
        count = self._seen[text]
        return count & (count - 1) != 0
