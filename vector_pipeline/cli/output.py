"""Output for people: messages on stderr, results on stdout, a live display on a terminal, one object with --json."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vector_pipeline.cli.wrapping import wrap
from vector_pipeline.redaction import hide
from vector_pipeline.sources.base import printable

# A count of work to do, and the counts that together are what of it is done. The progress bar and the time left belong
# to the last work that has begun and has not ended.
WORK = {
    "files to load": ("files loaded", "files deleted", "files rejected"),
    "vectors to index": ("vectors indexed",),
}

# A piped log gets a line of progress this often.
LINE_EVERY_SECONDS = 10.0


# Characters that a terminal obeys instead of showing (C0 without the tab, DEL, C1), unusual line ends, characters that
# turn the direction of text, and lone surrogates, which no encoding can write.
_OBEYED = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(line: str) -> str:
    r"""A line that is safe for a terminal: characters that it would obey are escaped (`\x1b`), the rest is unchanged."""
    return _OBEYED.sub(lambda sign: sign[0].encode("unicode_escape").decode(), line)


def show_every_character() -> None:
    """Show characters that the terminal's encoding lacks by their numbers, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def fail(message: str) -> None:
    """Print one line on stderr, with the program's name before it."""
    sys.stderr.write(wrapped(f"vector-pipeline: {printable(hide(message))}", sys.stderr) + "\n")


def emit_json(value: dict[str, Any]) -> None:
    """Print one JSON object on stdout, with text in any language unchanged."""
    # Characters that the stream's encoding lacks are escaped as in JSON.
    ascii_only = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=ascii_only, default=str)
    # They occur only inside strings, where JSON has an escape for each.
    _write(_OBEYED.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text))


def emit(line: str = "") -> None:
    """Print one line of a result on stdout. Text from files in it is made safe."""
    _write(wrapped(harmless(line), sys.stdout))


def wrapped(line: str, stream: TextIO) -> str:
    """A line; for a terminal it is wrapped between words, so that the terminal does not break words.

    Text after a label ("files   …") stays in its column. Words longer than the terminal, such as paths, stay whole.
    """
    if not stream.isatty():
        return line
    width = shutil.get_terminal_size().columns
    label = re.match(r"\S+(?: \w+)? {2,}|\s+", line)
    indent = " " * (min(label.end(), width // 2) if label else 2)
    return "\n".join(wrap(line, max(width, 20), rest=indent))


def _write(line: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    # A terminal with another encoding shows characters that it lacks by their numbers.
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


class Progress:
    """Counts of the work under way. A terminal shows them live; otherwise a line is printed from time to time."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._began = self._printed = time.monotonic()
        self._totals_known: dict[str, float] = {}
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Show the counts until the block ends."""
        if self._quiet or not self._console.is_terminal:
            yield self
            return
        with Live(get_renderable=self._display, console=self._console, refresh_per_second=8, transient=True) as live:
            self._live = live
            yield self
            self._live = None

    def advance(self, what: str, amount: int) -> None:
        """Add to a count. Any thread may call it."""
        with self._lock:
            self._counts[what] += amount
            now = time.monotonic()
            if what in WORK:
                self._totals_known.setdefault(what, now)
            due = self._live is None and not self._quiet and now - self._printed >= LINE_EVERY_SECONDS
            if due:
                self._printed = now
        if due:
            sys.stderr.write(self._line().plain + "\n")

    def say(self, line: str) -> None:
        """Print a line above the live counts."""
        if not self._quiet:
            self._console.print(Text(wrapped(printable(line), sys.stderr)), soft_wrap=True)

    def _display(self) -> RenderableType:
        under_way = self._under_way()
        if under_way is None:
            return self._line()
        display = Table.grid(padding=(0, 1))
        display.add_row(ProgressBar(self._counts[under_way], self._done(under_way), width=24), self._line())
        return display

    def _under_way(self) -> str | None:
        begun = [total for total in WORK if self._counts[total] > self._done(total)]
        return begun[-1] if begun else None

    def _done(self, total: str) -> int:
        return sum(self._counts[name] for name in WORK[total])

    def _line(self) -> Text:
        seconds = time.monotonic() - self._began
        counts = "  ".join(f"{what} {count:,}" for what, count in self._counts.items() if count)
        return Text(f"{seconds:6.1f} s  {counts or 'starting'}{self._left()}")

    def _left(self) -> str:
        """The time left at the rate so far, once there is one."""
        under_way = self._under_way()
        if under_way is None:
            return ""
        done = self._done(under_way)
        if not done:
            return ""
        seconds = time.monotonic() - self._totals_known[under_way]
        left = seconds * (self._counts[under_way] - done) / done
        return f"  about {left / 60:,.0f} min left" if left >= 90 else f"  about {left:,.0f} s left"
