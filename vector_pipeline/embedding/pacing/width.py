"""How many requests to have under way at a server that states no limits: found out while it runs."""

from __future__ import annotations

from dataclasses import dataclass

# Requests that may wait inside the server: fewer and it might run dry, more only makes everything late.
MIN_QUEUED = 1.5
MAX_QUEUED = 4.0


@dataclass(frozen=True, slots=True)
class LearnedWidth:
    """What was found out of a server, for whoever asks it next."""

    width: float
    pace: float
    """Seconds per token at the best."""


class Width:
    """A number of requests under way that keeps a server busy without filling its queue.

    How many of them wait there is told from how much longer a token takes than at the best: with n under way and
    answers taking twice as long as they could, n/2 are waiting.
    """

    def __init__(self, most: int, learned: LearnedWidth | None = None) -> None:
        self._most = most
        self._width = min(float(most), learned.width) if learned else 1.0
        self._best = learned.pace if learned else None

    @property
    def now(self) -> int:
        """Requests that may be under way now."""
        return max(1, min(self._most, int(self._width)))

    @property
    def learned(self) -> LearnedWidth | None:
        """What there is to be kept; None before the first answer."""
        return None if self._best is None else LearnedWidth(self._width, self._best)

    def answered(self, tokens: int, seconds: float, under_way: int) -> None:
        """Take note of an answer that came without trouble."""
        pace = seconds / max(1, tokens)
        # The best is let go of slowly: the server may have become slower, or the texts different.
        self._best = pace if self._best is None else min(pace, self._best * 1.005)
        queued = under_way * (1 - self._best / max(pace, 1e-12))
        if queued < MIN_QUEUED and under_way >= self.now - 1:
            self._width = min(float(self._most), self._width + 1 / max(1.0, self._width / 2))
        elif queued > MAX_QUEUED:
            self._width = max(1.0, self._width - 1 / max(1.0, self._width / 2))

    def failed(self) -> None:
        """Take note that a request had to be sent again."""
        self._width = max(1.0, self._width / 2)
