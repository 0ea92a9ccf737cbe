"""What is said while nothing happens: soon, and then less and less often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

FIRST_SECONDS = 10.0
"""A wait as long as this is worth a line. The next lines follow after twice the time each."""
LONGEST_SECONDS = 600.0
LOOK_EVERY_SECONDS = 1.0


class Rarely:
    """Whether something that goes on is worth another line: after `first_seconds`, then after 2, 4, 8 … times that."""

    def __init__(self, *, first_seconds: float = FIRST_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first_seconds
        self._clock = clock
        self._began = clock()
        self._next = first_seconds

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        return self._clock() - self._began

    def is_due(self) -> bool:
        """Whether a line is due; the next one is due later."""
        if self.seconds < self._next:
            return False
        self._next += min(self._next, LONGEST_SECONDS)
        return True

    def restart(self) -> None:
        """It has stopped, and may begin again."""
        self._began = self._clock()
        self._next = self._first


class Waiting:
    """Says that no answer has come for a while, and why. Use as a context manager; `answered` when one has come.

    `why` is called in a thread of its own, only when a line is due.
    """

    def __init__(
        self, log: Callable[[str], None], why: Callable[[], str], *, first_seconds: float = FIRST_SECONDS
    ) -> None:
        self._log = log
        self._why = why
        self._since = Rarely(first_seconds=first_seconds)
        self._look_every = min(LOOK_EVERY_SECONDS, first_seconds / 4)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="waiting", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def answered(self) -> None:
        """An answer has come."""
        self._since.restart()

    def _watch(self) -> None:
        while not self._ended.wait(self._look_every):
            if self._since.is_due():
                self._log(f"no answer from the API for {self._since.seconds:,.0f} s: {self._why()}")
