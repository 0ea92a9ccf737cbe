"""When a request may be sent: a continuously refilled bucket of tokens and one of requests, kept in step with the API.

The API's limiter is such a bucket, of one minute's limit, refilled all the time; there is no window's edge to wait
for. Ours runs beside it and is corrected by what each answer's headers say is left, less what is under way: others
may use the account, and the API may weigh texts in its own way. No I/O here but waiting; `store.pacing` keeps the
same arithmetic in a row that all machines share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import regex

_DURATION = regex.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, None: 1.0}


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account may do in a minute; None where a server states no limit."""

    tokens_per_minute: int | None = None
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """What an answer says of the limits: x-ratelimit-limit-* and x-ratelimit-remaining-*."""

    limit_tokens: int | None
    remaining_tokens: int | None
    limit_requests: int | None
    remaining_requests: int | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> RateHeaders:
        """From the headers of an answer; all None where it has none."""

        def number(name: str) -> int | None:
            try:
                return int(float(headers[f"x-ratelimit-{name}"]))
            except (KeyError, ValueError):
                return None

        return cls(
            number("limit-tokens"), number("remaining-tokens"), number("limit-requests"), number("remaining-requests")
        )

    @property
    def stated(self) -> bool:
        """Whether the server states a limit at all."""
        return bool(self.limit_tokens or self.limit_requests)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A reservation: its place in the order of reservations, its weight, and how long to wait before sending."""

    number: int
    weight: int
    wait_seconds: float


class Pacer(Protocol):
    """Reserves a share of the limits for each request; may be shared by processes and machines."""

    async def reserve(self, weight: int, *, urgent: bool = False) -> Ticket:
        """Reserve for a request of a weight in tokens; an urgent one (a search) is told not to wait."""
        ...

    async def settle(self, ticket: Ticket, headers: RateHeaders | None) -> None:
        """Give a reservation back once its request was answered, with what the answer's headers say."""
        ...

    async def pause(self, seconds: float) -> None:
        """Let nobody send for a while, as a 429 asked for."""
        ...

    async def limits(self) -> Limits | None:
        """The limits as known by now; None before the first answer of an account without a preset."""
        ...


@dataclass(slots=True)
class Bucket:
    """Credit that refills at `limit` a minute up to `limit`; it may be overdrawn, and is then waited for."""

    limit: float
    available: float
    at: float

    def take(self, amount: float, now: float) -> float:
        """Take an amount; returns the seconds until the bucket would not be overdrawn."""
        self.available = min(self.limit, self.available + max(0.0, now - self.at) * self.limit / 60) - amount
        self.at = max(self.at, now)
        return max(0.0, -self.available * 60 / self.limit)


class LocalPacer:
    """A pacer for one process, for use without a database."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits
        self._tokens: Bucket | None = None
        self._requests: Bucket | None = None
        self._paused_until = 0.0
        self._number = self._applied = 0
        self._weight_under_way = self._under_way = 0
        if limits is not None:
            self._tokens = _unknown_fill(limits.tokens_per_minute)
            self._requests = _unknown_fill(limits.requests_per_minute)

    async def reserve(self, weight: int, *, urgent: bool = False) -> Ticket:
        """See Pacer."""
        now = time.monotonic()
        waits = [self._paused_until - now]
        # How full a bucket is, is not known before the first answer: the first request goes, the next ones are paced.
        first = self._number == 0
        if self._tokens is not None:
            waits.append(self._tokens.take(weight, now))
        if self._requests is not None:
            waits.append(self._requests.take(1, now))
        self._number += 1
        self._under_way += 1
        self._weight_under_way += weight
        return Ticket(self._number, weight, 0.0 if urgent or first else max(0.0, *waits))

    async def settle(self, ticket: Ticket, headers: RateHeaders | None) -> None:
        """See Pacer."""
        self._under_way -= 1
        self._weight_under_way -= ticket.weight
        if headers is None or ticket.number < self._applied:
            return
        self._applied = ticket.number
        if not headers.stated:
            self._limits = self._limits or Limits()
            return
        now = time.monotonic()
        if headers.limit_tokens is not None and headers.remaining_tokens is not None:
            left = headers.remaining_tokens - self._weight_under_way
            self._tokens = Bucket(headers.limit_tokens, left, now)
        if headers.limit_requests is not None and headers.remaining_requests is not None:
            left = headers.remaining_requests - self._under_way
            self._requests = Bucket(headers.limit_requests, left, now)
        self._limits = Limits(headers.limit_tokens, headers.limit_requests)

    async def pause(self, seconds: float) -> None:
        """See Pacer."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    async def limits(self) -> Limits | None:
        """See Pacer."""
        return self._limits


def _unknown_fill(limit: int | None) -> Bucket | None:
    return Bucket(float(limit), 0.0, time.monotonic()) if limit else None


def parse_duration(text: str) -> float | None:
    """Seconds of a Go duration ('1h2m3.5s', '17ms') or a plain number; None where it is neither."""
    found = _DURATION.findall(text.strip())
    if not found or "".join(number + unit for number, unit in found) != text.strip():
        return None
    return sum(float(number) * _UNITS[unit or None] for number, unit in found)


async def wait(seconds: float) -> None:
    """Wait; nothing for zero or less."""
    if seconds > 0:
        await asyncio.sleep(seconds)
