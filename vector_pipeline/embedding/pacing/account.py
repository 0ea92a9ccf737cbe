"""The arithmetic of one account's rate limits. It is pure: the caller passes the time. One process or many may use it.

The API's limiter is a bucket that refills continuously and holds the limit of one minute. It has no fixed windows: the
waits in its messages agree with that to the millisecond. This module keeps a bucket of its own beside it. Each request
takes its tokens from the bucket, and each answer corrects the level by what the API says is left. The correction is
needed because others may use the account and the API may count the tokens of a text differently.

Example with 1,000,000 tokens per minute (16,667 in a second) as a preset:

- The level starts at 0, because the account may have been used a moment ago. The first request has 50,000 tokens.
  2 % of the limit (20,000) is kept as a margin for other users. So the request waits (50,000 + 20,000) / 16,667 = 4.2
  seconds. The second request waits until the first is answered.
- The answer says that 950,000 are left. The level becomes 950,000, and the next 50,000 tokens are sent at once. The
  level is then 900,000.
- With a level of 20,000 and no margin, a request of 50,000 would bring the level to -30,000. It waits for 1.8 seconds,
  until that much has refilled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from vector_pipeline.embedding.pacing.limits import Limits, RateHeaders
from vector_pipeline.embedding.pacing.meter import MAX_MARGIN, Meter, Seen
from vector_pipeline.embedding.pacing.width import LearnedWidth

# Requests are admitted at most this far ahead of the refill. So the correction by an answer reaches the next request,
# and a search finds no queue before it.
LOOK_AHEAD_SECONDS = 0.25

# How long other requests wait for the first answer of an account whose limits are unknown.
PROBE_SECONDS = 15.0
PROBE_POLL_SECONDS = 0.05

# How long a learned width is used. After that the server may have other work, or be another server.
WIDTH_KEPT_SECONDS = 600.0

# A process that was killed leaves requests without an answer. They count half as much after this time.
UNANSWERED_HALF_LIFE_SECONDS = 60.0

# A search waits for at most this long, even if the bucket is empty.
MAX_URGENT_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """Permission to send a request: its number, its weight in tokens, and all tokens reserved up to and including it.

    `under_way` holds the tokens and the number of the requests that had no answer yet when it was given. They may be
    admitted after its own request, so what the answer says is left may not include them.
    `waited_seconds` is how long the request waited for it.
    """

    number: int
    weight: int
    tokens_total: float = 0.0
    under_way: tuple[float, float] = (0.0, 0.0)
    waited_seconds: float = 0.0


@dataclass(slots=True)
class Account:
    """All limits of one account: tokens per minute, requests per minute and requests per day."""

    tokens: Meter | None = None
    requests: Meter | None = None
    day: Meter | None = None
    learned: bool = False
    """Whether an answer has stated the limits, or shown that there are none."""
    number: int = 0
    settled: int = 0
    probe_until: float = 0.0
    paused_until: float = 0.0
    under_way: float = 0.0
    """The tokens of requests that have no answer yet, of all processes."""
    requests_under_way: float = 0.0
    """The number of these requests."""
    at: float = 0.0
    """The time of the last change."""
    width: LearnedWidth | None = None
    """The width that the last run learned for a server that states no limits."""
    width_until: float = 0.0

    @classmethod
    def new(cls, limits: Limits | None, now: float) -> Self:
        """An account with at most a preset. The level of its bucket is unknown and counts as 0."""
        account = cls()
        account.expect(limits or Limits(), now)
        return account

    def expect(self, limits: Limits, now: float) -> None:
        """Use a preset for limits that no answer has stated yet. The user's own bounds always apply.

        It may be called again with another preset or with an empty one.
        """
        for name, limit in (("tokens", limits.tokens_per_minute), ("requests", limits.requests_per_minute)):
            meter: Meter | None = getattr(self, name)
            if (meter is None or not meter.stated) and limit != (meter.limit if meter else None):
                # No answer has stated this limit, and the preset has changed: start again with the new one.
                total = meter.total if meter else 0.0
                meter = None if limit is None else Meter(float(limit), 0.0, now, total=total)
                setattr(self, name, meter)
            if meter is not None:
                meter.cap = float(limit) if limits.binding and limit else None
                meter.limit = min(meter.limit, meter.cap or meter.limit)
        if limits.requests_per_day and (self.day is None or self.day.limit != limits.requests_per_day):
            # No header states how many requests are left in the day. Assume all of them until a 429 says otherwise.
            day = float(limits.requests_per_day)
            self.day = Meter(day, day, now, period=86_400.0)
        elif not limits.requests_per_day:
            self.day = None

    @property
    def limits(self) -> Limits | None:
        """The limits known so far; None before the first answer of an account without a preset."""
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
        self._count_under_way(weight, 1, now)
        before = (self.under_way - weight, self.requests_under_way - 1)
        ticket = Ticket(self.number, weight, self.tokens.total if self.tokens else 0.0, before)
        # With a preset, even the first request waits until its own tokens have refilled: the bucket may be empty.
        debt = max((meter.debt_seconds(now) for meter in self._meters()), default=0.0)
        if not self.learned:
            self.probe_until = now + debt + PROBE_SECONDS
        return ticket, max(paused, min(debt, MAX_URGENT_WAIT_SECONDS) if urgent else debt)

    def settle(self, ticket: Ticket, headers: RateHeaders | None, now: float) -> None:
        """Correct the limits by an answer; `headers` is None if the request failed without any."""
        self._count_under_way(-ticket.weight, -1, now)
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
            seen = Seen(ticket.tokens_total, ticket.under_way[0], headers.processing_seconds)
            self.tokens.correct(headers.limit_tokens, headers.remaining_tokens, seen, now, first=first)
        if headers.limit_requests and headers.remaining_requests is not None:
            self.requests = self.requests or Meter(float(headers.limit_requests), 0.0, now, total=float(ticket.number))
            total = self.requests.total - (self.number - ticket.number)
            seen = Seen(total, ticket.under_way[1], headers.processing_seconds)
            self.requests.correct(headers.limit_requests, headers.remaining_requests, seen, now, first=first)

    def _count_under_way(self, tokens: int, requests: int, now: float) -> None:
        kept = 0.5 ** (max(0.0, now - self.at) / UNANSWERED_HALF_LIFE_SECONDS)
        self.under_way = max(0.0, self.under_way * kept + tokens)
        self.requests_under_way = max(0.0, self.requests_under_way * kept + requests)
        self.at = now

    def pause(self, seconds: float, now: float) -> None:
        """Stop all requests for a while, as a 429 asked. Add the tokens that were missing to the margin."""
        if self.tokens is not None:
            lacking = seconds * self.tokens.rate
            self.tokens.margin = min(self.tokens.margin + lacking, MAX_MARGIN * self.tokens.limit)
        self.paused_until = max(self.paused_until, now + seconds)
        self.at = now

    def keep_width(self, learned: LearnedWidth, now: float) -> None:
        """Keep the width that a run learned, for the next run."""
        self.width, self.width_until = learned, now + WIDTH_KEPT_SECONDS

    def kept_width(self, now: float) -> LearnedWidth | None:
        """The width that an earlier run learned; None if there is none of the last `WIDTH_KEPT_SECONDS`."""
        return self.width if now < self.width_until else None

    def is_ahead(self, now: float, tolerance: float) -> bool:
        """Whether the last change lies more than `tolerance` seconds in the future: the clock was set back since."""
        return self.at > now + tolerance

    def _meters(self) -> Iterator[Meter]:
        return (meter for meter in (self.tokens, self.requests, self.day) if meter is not None)

    def as_json(self) -> dict[str, Any]:
        """The account as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The account of a state in any version's form. Unknown fields are left out.

        Raises TypeError if the state has another form.
        """
        _require_mapping(values)
        meters = {name: _meter(values.get(name)) for name in ("tokens", "requests", "day")}
        width = values.get("width")
        learned = LearnedWidth(**_known(LearnedWidth, _require_mapping(width))) if width else None
        return cls(**_known(cls, {**values, **meters, "width": learned}))


def _meter(values: dict[str, Any] | None) -> Meter | None:
    if values is None:
        return None
    mark = _require_mapping(values).get("mark")
    return Meter(**_known(Meter, {**values, "mark": tuple(mark) if mark else None}))


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    found = {field.name: values[field.name] for field in fields(kind) if field.name in values}
    for field in fields(kind):
        # The annotations are text.
        if field.type in ("float", "int", "bool") and not isinstance(found.get(field.name, 0), float | int):
            raise TypeError(f"{field.name} is no number")
    return found


def _require_mapping(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise TypeError("is no object with fields")
    return values
