"""Log lines while nothing happens: the first one soon, the next ones less and less often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

FIRST_SECONDS = 10.0
"""After this time a wait gets its first line. Each next line follows after twice the time."""
LONGEST_SECONDS = 600.0
LOOK_EVERY_SECONDS = 1.0


class Rarely:
    """Decides when a lasting state gets another line: after `first_seconds`, then after 2, 4, 8 … times that."""

    def __init__(self, *, first_seconds: float = FIRST_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first_seconds
        self._clock = clock
        self._began = clock()
        self._next = first_seconds

    @property
    def seconds(self) -> float:
        """The duration of the state so far."""
        return self._clock() - self._began

    def is_due(self) -> bool:
        """Whether a line is due now. If so, the next one is due later."""
        if self.seconds < self._next:
            return False
        self._next += min(self._next, LONGEST_SECONDS)
        return True

    def restart(self) -> None:
        """Begin again: the state has ended."""
        self._began = self._clock()
        self._next = self._first


class Waiting:
    """Logs that no answer has come for a while, and why. Use it as a context manager. Call `answered` for each answer.

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
        """Record that an answer has come."""
        self._since.restart()

    def _watch(self) -> None:
        while not self._ended.wait(self._look_every):
            if self._since.is_due():
                self._log(f"no answer from the API for {self._since.seconds:,.0f} s: {self._why()}")
