"""The arithmetic of one account's rate limits: pure, given the clock's reading, and the same for one process or many.

The API's limiter is a bucket that refills all the time and holds one minute's limit: there is no window's edge to
wait for (the waits in its messages agree with that to the millisecond). Ours runs beside it, spends what refills and
is corrected by what each answer says is left: others may use the account, and the API may weigh texts in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

from vector_pipeline.embedding.pacing.limits import Limits, RateHeaders
from vector_pipeline.embedding.pacing.meter import MAX_MARGIN, Meter, Seen
from vector_pipeline.embedding.pacing.width import LearnedWidth

# Requests are admitted at most this far ahead of the refill: what an answer corrects reaches the next request, and
# a search finds no queue before it.
LOOK_AHEAD_SECONDS = 0.25

# How long others wait for the first answer of an account of which nothing is known.
PROBE_SECONDS = 15.0
PROBE_POLL_SECONDS = 0.05

# What was found out of a server is believed for so long: it may have other work by then, or be another.
WIDTH_KEPT_SECONDS = 600.0

# A search is sent after this at the latest, whatever the bucket says.
MAX_URGENT_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that may be sent: its number, its weight, and all that was reserved up to and including it.

    `waited_seconds` is how long it was held back.
    """

    number: int
    weight: int
    tokens_total: float = 0.0
    waited_seconds: float = 0.0


@dataclass(slots=True)
class Account:
    """All limits of one account, by token and by request, and what is known of them."""

    tokens: Meter | None = None
    requests: Meter | None = None
    day: Meter | None = None
    learned: bool = False
    """Whether an answer has told of the limits, or that there are none."""
    number: int = 0
    settled: int = 0
    probe_until: float = 0.0
    paused_until: float = 0.0
    at: float = 0.0
    """When it was last changed."""
    width: LearnedWidth | None = None
    """How many requests to have under way where no limit is stated, as the last run found it."""
    width_until: float = 0.0

    @classmethod
    def new(cls, limits: Limits | None, now: float) -> Self:
        """An account of which at most a preset is known, and not how full its bucket is."""
        account = cls()
        account.expect(limits or Limits(), now)
        return account

    def expect(self, limits: Limits, now: float) -> None:
        """Take over a preset where nothing better is known, and the user's own bounds in any case.

        May be called again, with another preset or with none any more.
        """
        for name, limit in (("tokens", limits.tokens_per_minute), ("requests", limits.requests_per_minute)):
            meter: Meter | None = getattr(self, name)
            if (meter is None or not meter.stated) and limit != (meter.limit if meter else None):
                # Nothing was learned of this limit, and what was expected of it is expected no more.
                total = meter.total if meter else 0.0
                meter = None if limit is None else Meter(float(limit), 0.0, now, total=total)
                setattr(self, name, meter)
            if meter is not None:
                meter.cap = float(limit) if limits.binding and limit else None
                meter.limit = min(meter.limit, meter.cap or meter.limit)
        if limits.requests_per_day and (self.day is None or self.day.limit != limits.requests_per_day):
            # How many are left of the day is not told by any header: all of them, until a 429 says otherwise.
            day = float(limits.requests_per_day)
            self.day = Meter(day, day, now, period=86_400.0)
        elif not limits.requests_per_day:
            self.day = None

    @property
    def limits(self) -> Limits | None:
        """The limits as known by now; None before the first answer of an account without a preset."""
        if not self.learned and self.tokens is None and self.requests is None:
            return None
        return Limits(
            round(self.tokens.limit) if self.tokens else None,
            round(self.requests.limit) if self.requests else None,
            round(self.day.limit) if self.day else None,
        )

    def take(self, weight: int, now: float, *, urgent: bool = False) -> tuple[Ticket | None, float]:
        """A ticket and the seconds to wait before it is used; or None and the seconds after which to ask again."""
        paused = max(0.0, self.paused_until - now)
        if not urgent:
            if not self.learned and now < self.probe_until:
                return None, PROBE_POLL_SECONDS
            debt = max((meter.debt_seconds(now) for meter in self._meters()), default=0.0)
            later = max(paused, debt - LOOK_AHEAD_SECONDS)
            if later > 0 and self.learned:
                return None, later
            if paused:
                return None, paused
        for meter in self._meters():
            meter.take(float(weight) if meter is self.tokens else 1.0, now)
        self.number += 1
        self.at = now
        ticket = Ticket(self.number, weight, self.tokens.total if self.tokens else 0.0)
        # Where a preset tells the rate, the very first request waits for what itself takes: the bucket may be empty.
        debt = max((meter.debt_seconds(now) for meter in self._meters()), default=0.0)
        if not self.learned:
            self.probe_until = now + debt + PROBE_SECONDS
        return ticket, max(paused, min(debt, MAX_URGENT_WAIT_SECONDS) if urgent else debt)

    def settle(
        self, ticket: Ticket, headers: RateHeaders | None, now: float, *, before: tuple[int, int] = (0, 0)
    ) -> None:
        """Learn from an answer; `headers` is None where the request failed without any.

        `before` is the weight and the number of this process's requests that were sent earlier and have no answer
        yet: they may not be part of what the headers say is left.
        """
        if headers is None:
            self.probe_until = now
            return
        if ticket.number <= self.settled:
            return
        self.settled = ticket.number
        self.at = now
        first = not self.learned
        self.learned = True
        if headers.limit_tokens and headers.remaining_tokens is not None:
            self.tokens = self.tokens or Meter(float(headers.limit_tokens), 0.0, now, total=ticket.tokens_total)
            seen = Seen(ticket.tokens_total, before[0], headers.processing_seconds)
            self.tokens.correct(headers.limit_tokens, headers.remaining_tokens, seen, now, first=first)
        if headers.limit_requests and headers.remaining_requests is not None:
            self.requests = self.requests or Meter(float(headers.limit_requests), 0.0, now, total=float(ticket.number))
            seen = Seen(self.requests.total - (self.number - ticket.number), before[1], headers.processing_seconds)
            self.requests.correct(headers.limit_requests, headers.remaining_requests, seen, now, first=first)

    def pause(self, seconds: float, now: float) -> None:
        """Let nobody send for a while, as a 429 asked; what was lacking is kept in hand from then on."""
        if self.tokens is not None:
            lacking = seconds * self.tokens.rate
            self.tokens.margin = min(self.tokens.margin + lacking, MAX_MARGIN * self.tokens.limit)
        self.paused_until = max(self.paused_until, now + seconds)
        self.at = now

    def keep_width(self, learned: LearnedWidth, now: float) -> None:
        """Keep what a run found out of the server, for the next."""
        self.width, self.width_until = learned, now + WIDTH_KEPT_SECONDS

    def kept_width(self, now: float) -> LearnedWidth | None:
        """What an earlier run found out; None where none did lately."""
        return self.width if now < self.width_until else None

    def is_ahead(self, now: float, tolerance: float) -> bool:
        """Whether it was changed in what is the future by more than it may: the clock was put back since."""
        return self.at > now + tolerance

    def _meters(self) -> Iterator[Meter]:
        return (meter for meter in (self.tokens, self.requests, self.day) if meter is not None)

    def as_json(self) -> dict[str, Any]:
        """Plain values, to be stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The account that `as_json` described."""
        meters = {name: _meter(values.get(name)) for name in ("tokens", "requests", "day")}
        width = values.get("width")
        return cls(**{**values, **meters, "width": LearnedWidth(**width) if width else None})


def _meter(values: dict[str, Any] | None) -> Meter | None:
    if values is None:
        return None
    mark = values.get("mark")
    return Meter(**{**values, "mark": tuple(mark) if mark else None})
