"""What the server saw and billed."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Seen:
    """Counts since the start; times are the server's monotonic clock."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    """Tokens billed."""
    weight: int = 0
    """What the limiter counted of them."""
    tokens_in_vain: int = 0
    """Tokens of requests that were answered 429."""
    billed: Counter[str] = field(default_factory=Counter)
    """How often each text was worked on."""
    parameters: Counter[str] = field(default_factory=Counter)
    """How often a text came with a field of the body that OpenAI's API lacks, as `name=value text`."""
    lost: Counter[str] = field(default_factory=Counter)
    """How often a text's answer was spoilt or lost on the wire after it was billed."""
    in_flight: int = 0
    most_in_flight: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    inputs_per_request: list[int] = field(default_factory=list)
    requests_by_key: Counter[str] = field(default_factory=Counter)
    limited_by_key: Counter[str] = field(default_factory=Counter)
    limited_at: list[tuple[float, str]] = field(default_factory=list)
    """When, in seconds since the start, and whose request was answered 429."""

    def start(self) -> None:
        """Begin to count the time now; without effect later on."""
        self.first_at = self.first_at or time.monotonic()

    def begin(self) -> None:
        """A request came in."""
        self.start()
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def limited(self, key: str, tokens: int) -> None:
        """A request was answered 429."""
        self.tokens_in_vain += tokens
        self.limited_by_key[key] += 1
        self.limited_at.append((time.monotonic() - self.first_at, key))

    def end(self, status: int) -> None:
        """A request was answered."""
        self.in_flight -= 1
        self.statuses[status] += 1
        self.last_at = time.monotonic()

    @property
    def paid_twice(self) -> int:
        """Texts billed more often than their answers were lost, plus once."""
        return sum(max(0, times - 1 - self.lost[text]) for text, times in self.billed.items())

    def summary(self) -> dict[str, object]:
        """The counts, as JSON values."""
        return {
            "requests": self.requests,
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "faults": dict(self.faults),
            "tokens": self.tokens,
            "weight": self.weight,
            "tokens_in_vain": self.tokens_in_vain,
            "requests_by_key": dict(self.requests_by_key),
            "limited_by_key": dict(self.limited_by_key),
            "limited_at": self.limited_at,
            "inputs": sum(self.billed.values()),
            "distinct": len(self.billed),
            "paid_twice": self.paid_twice,
            "most_in_flight": self.most_in_flight,
            "seconds": self.last_at - self.first_at,
        }
