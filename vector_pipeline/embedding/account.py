"""The arithmetic of one account's rate limits: pure, given the clock's reading, and the same for one process or many.

The API's limiter is a bucket that refills all the time and holds one minute's limit: there is no window's edge to
wait for (the waits in its messages agree with that to the millisecond). Ours runs beside it, spends what refills and
is corrected by what each answer says is left: others may use the account, and the API may weigh texts in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

from vector_pipeline.embedding.limits import Limits, RateHeaders

# Requests are admitted at most this far ahead of the refill: what an answer corrects reaches the next request, and
# a search finds no queue before it.
LOOK_AHEAD_SECONDS = 0.25

# How long others wait for the first answer of an account of which nothing is known.
PROBE_SECONDS = 15.0
PROBE_POLL_SECONDS = 0.05

# A search is sent after this at the latest, whatever the bucket says.
LONGEST_URGENT_WAIT_SECONDS = 1.0

# What others take unforeseen is kept in hand from then on, half of it for as long as this after the last time.
MARGIN_HALF_LIFE_SECONDS = 60.0
MOST_MARGIN = 0.05

# As long as nothing was seen of others yet, this share of the limit is kept from them; it halves with time.
FIRST_MARGIN = 0.02

# How much of "there is more left than we thought" is believed of one answer, since requests may overtake each other.
UPWARD_GAIN = 0.3

# Over how much of the limit's refill the account's own weighing of texts is measured.
RATIO_SECONDS = 3.0


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
class Meter:
    """One limit: credit that refills at `limit` every `period` seconds, up to `limit`; it may be overdrawn."""

    limit: float
    level: float
    at: float
    period: float = 60.0
    cap: float | None = None
    """What the user allows, however much more the account might."""
    total: float = 0.0
    """All that was ever taken, in our own weighing."""
    ratio: float = 1.0
    """What goes from the account for each unit that we take: its own weighing, and what others take."""
    margin: float = -1.0
    """Kept in hand against what others take without notice."""
    mark: tuple[float, float, float] | None = None
    """Total, remaining and time of an earlier answer, from which the ratio is measured."""

    def __post_init__(self) -> None:
        if self.margin < 0:
            self.margin = FIRST_MARGIN * self.limit if self.period == 60.0 else 0.0

    @property
    def rate(self) -> float:
        """What refills in a second."""
        return self.limit / self.period

    def refill(self, now: float) -> None:
        """Bring the level up to the time."""
        elapsed = max(0.0, now - self.at)
        self.level = min(self.limit, self.level + elapsed * self.rate)
        self.margin *= 0.5 ** (elapsed / MARGIN_HALF_LIFE_SECONDS)
        self.at = max(self.at, now)

    def debt_seconds(self, now: float) -> float:
        """How long until what was taken has been refilled; 0 where there is credit."""
        elapsed = max(0.0, now - self.at)
        level = min(self.limit, self.level + elapsed * self.rate)
        margin: float = self.margin * 0.5 ** (elapsed / MARGIN_HALF_LIFE_SECONDS)
        return max(0.0, (margin - level) / self.rate)

    def take(self, amount: float, now: float) -> None:
        """Take an amount, into debt if need be."""
        self.refill(now)
        self.total += amount
        self.level -= amount * self.ratio

    def correct(self, limit: int | None, remaining: int, seen: Seen, now: float, *, first: bool) -> None:
        """Take over what an answer says is left, less what was taken since its request was admitted."""
        self.refill(now)
        # A bound of the user's own below the account's: what is left of the account is then no measure.
        bound = self.cap is not None and self.cap < (limit or self.limit)
        if limit:
            self.limit = float(min(limit, self.cap or limit))
        if not bound:
            self._measure(remaining, seen, now)
        high = remaining + seen.seconds * self.rate - (self.total - seen.total) * self.ratio
        low = high - seen.before * self.ratio
        if first and not bound:
            self.level = min(low, self.limit)
        elif self.level > high:
            if high < self.limit / 5:
                self.margin = max(self.margin, min(1.5 * (self.level - high), MOST_MARGIN * self.limit))
            self.level = high
        elif self.level < low and not bound:
            self.level = min(self.limit, self.level + UPWARD_GAIN * (low - self.level))

    def _measure(self, remaining: int, seen: Seen, now: float) -> None:
        """How much goes from the account for what we take, over the last few seconds' worth of tokens."""
        mark, self.mark = self.mark, self.mark or (seen.total, float(remaining), now)
        if mark is None:
            return
        total, was, then = mark
        taken, elapsed = seen.total - total, now - then
        if taken < RATIO_SECONDS * self.rate:
            return
        # Near the top what refills is lost, and after a pause it tells nothing of the weighing.
        if max(remaining, was) < 0.95 * self.limit and elapsed < 60:
            gone = was + elapsed * self.rate - remaining
            self.ratio += 0.5 * (min(4.0, max(0.25, gone / taken)) - self.ratio)
        self.mark = (seen.total, float(remaining), now)


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer's numbers refer to.

    `total` was taken up to and including its request; `before` of that may not have been admitted yet when it was,
    and `seconds` have passed since.
    """

    total: float
    before: float
    seconds: float


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

    @classmethod
    def new(cls, limits: Limits | None, now: float) -> Self:
        """An account of which at most a preset is known, and not how full its bucket is."""
        account = cls()
        if limits is not None:
            account.expect(limits, now)
        return account

    def expect(self, limits: Limits, now: float) -> None:
        """Take over a preset where nothing better is known, and the user's own bounds in any case."""
        for name, limit in (("tokens", limits.tokens_per_minute), ("requests", limits.requests_per_minute)):
            meter: Meter | None = getattr(self, name)
            if limit is not None and (meter is None or (not self.learned and meter.limit != limit)):
                meter = Meter(float(limit), 0.0, now, total=meter.total if meter else 0.0)
                setattr(self, name, meter)
            if meter is not None:
                meter.cap = float(limit) if limits.binding and limit else None
                meter.limit = min(meter.limit, meter.cap or meter.limit)
        if limits.requests_per_day and (self.day is None or self.day.limit != limits.requests_per_day):
            # How many are left of the day is not told by any header: all of them, until a 429 says otherwise.
            day = float(limits.requests_per_day)
            self.day = Meter(day, day, now, period=86_400.0)

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
        ticket = Ticket(self.number, weight, self.tokens.total if self.tokens else 0.0)
        # Where a preset tells the rate, the very first request waits for what itself takes: the bucket may be empty.
        debt = max((meter.debt_seconds(now) for meter in self._meters()), default=0.0)
        if not self.learned:
            self.probe_until = now + debt + PROBE_SECONDS
        return ticket, max(paused, min(debt, LONGEST_URGENT_WAIT_SECONDS) if urgent else debt)

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
            self.tokens.margin = min(self.tokens.margin + lacking, MOST_MARGIN * self.tokens.limit)
        self.paused_until = max(self.paused_until, now + seconds)

    def _meters(self) -> Iterator[Meter]:
        return (meter for meter in (self.tokens, self.requests, self.day) if meter is not None)

    def as_json(self) -> dict[str, Any]:
        """Plain values, to be stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The account that `as_json` described."""
        meters = {name: _meter(values.get(name)) for name in ("tokens", "requests", "day")}
        return cls(**{**values, **meters})


def _meter(values: dict[str, Any] | None) -> Meter | None:
    if values is None:
        return None
    mark = values.get("mark")
    return Meter(**{**values, "mark": tuple(mark) if mark else None})
