"""What a person sees: lines on stderr, results on stdout, a live display on a terminal, one object with --json."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vector_pipeline.sources.base import printable

# The counts that the bar is drawn from.
FILES_TO_LOAD, FILES_LOADED = "files to load", "files loaded"

# A piped log gets a line of progress this often.
LINE_EVERY_SECONDS = 10.0


def fail(message: str) -> None:
    """One line on stderr, with the program's name as other commands have it."""
    sys.stderr.write(f"vector-pipeline: {printable(message)}\n")


def emit_json(value: dict[str, Any]) -> None:
    """One JSON object on stdout, text in any language as it is."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def emit(line: str = "") -> None:
    """One line of a result on stdout."""
    sys.stdout.write(line + "\n")


class Progress:
    """Counts of what is under way, shown live on a terminal and as a line now and then elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._began = self._told = time.monotonic()
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
        """Add to a count; called from any thread."""
        with self._lock:
            self._counts[what] += amount
            now = time.monotonic()
            due = self._live is None and not self._quiet and now - self._told >= LINE_EVERY_SECONDS
            if due:
                self._told = now
        if due:
            sys.stderr.write(self._line().plain + "\n")

    def say(self, line: str) -> None:
        """A line of its own, above the live counts."""
        if not self._quiet:
            self._console.print(Text(printable(line)), soft_wrap=True)

    def _display(self) -> RenderableType:
        total = self._counts[FILES_TO_LOAD]
        if not total:
            return self._line()
        display = Table.grid(padding=(0, 1))
        display.add_row(ProgressBar(total, self._counts[FILES_LOADED], width=24), self._line())
        return display

    def _line(self) -> Text:
        seconds = time.monotonic() - self._began
        counts = "  ".join(f"{what} {count:,}" for what, count in self._counts.items())
        return Text(f"{seconds:6.1f} s  {counts or 'starting'}")
