"""The width: how many requests to have under way at a server that states no limits. It is learned from the answers."""

from __future__ import annotations

from dataclasses import dataclass

# Requests that should wait inside the server. With fewer it might become idle; with more every answer is late.
MIN_QUEUED = 1.5
MAX_QUEUED = 4.0


@dataclass(frozen=True, slots=True)
class LearnedWidth:
    """What a run learned about a server, for the next run."""

    width: float
    pace: float
    """The fewest seconds per token that were seen."""


class Width:
    """The number of requests under way that keeps a server busy without filling its queue.

    The number of waiting requests follows from the time per token, compared with the best time seen. Example: 8 requests
    are under way and a token takes twice the best time, so 8 x (1 - 1/2) = 4 are waiting.
    """

    def __init__(self, most: int, learned: LearnedWidth | None = None) -> None:
        self._most = most
        self._width = min(float(most), learned.width) if learned else 1.0
        self._best = learned.pace if learned else None

    @property
    def now(self) -> int:
        """The number of requests that may be under way now."""
        return max(1, min(self._most, int(self._width)))

    @property
    def learned(self) -> LearnedWidth | None:
        """What to keep for the next run; None before the first answer."""
        return None if self._best is None else LearnedWidth(self._width, self._best)

    def answered(self, tokens: int, seconds: float, under_way: int) -> None:
        """Learn from an answer to a request that was sent once."""
        pace = seconds / max(1, tokens)
        # The best time rises slowly: the server may have become slower, or the texts different.
        self._best = pace if self._best is None else min(pace, self._best * 1.005)
        queued = under_way * (1 - self._best / max(pace, 1e-12))
        if queued < MIN_QUEUED and under_way >= self.now - 1:
            self._width = min(float(self._most), self._width + 1 / max(1.0, self._width / 2))
        elif queued > MAX_QUEUED:
            self._width = max(1.0, self._width - 1 / max(1.0, self._width / 2))

    def failed(self) -> None:
        """Learn that a request had to be sent again."""
        self._width = max(1.0, self._width / 2)
