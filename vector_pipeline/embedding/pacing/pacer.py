"""Pacers: they let a request wait until the limits of the account allow it (see `account` for the arithmetic).

`LocalPacer` keeps the account in this process. `store.shared.pacing.PostgresPacer` keeps it in a row of Postgres that
all machines share.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from vector_pipeline.embedding.pacing.account import Account, Ticket
from vector_pipeline.embedding.pacing.clock import Clock
from vector_pipeline.embedding.pacing.limits import Limits, RateHeaders, parse_duration
from vector_pipeline.embedding.pacing.width import LearnedWidth
from vector_pipeline.errors import ProviderUnavailable

__all__ = ["Limits", "LocalPacer", "Pacer", "PacerBase", "RateHeaders", "Ticket", "parse_duration"]

# A wait is computed again after this time, because an answer may have shown that more is left.
LOOK_AGAIN_SECONDS = 2.0

# Limits per minute never cause such a long wait. Limits per day do, and then the run has to end.
MAX_WAIT_SECONDS = 900.0


class Pacer(Protocol):
    """Admits requests as the limits of an account allow. Processes and machines may share one."""

    async def reserve(self, weight: int, *, urgent: bool = False) -> Ticket:
        """Wait until a request with this number of tokens may be sent. An urgent one (a search) passes the queue.

        Raises ProviderUnavailable if the limit of the day is used up.
        """
        ...

    async def settle(self, ticket: Ticket, headers: RateHeaders | None) -> None:
        """Report the answer to a request with its headers; None if the request failed without any."""
        ...

    async def pause(self, seconds: float) -> None:
        """Stop all requests for a while, as a 429 asked."""
        ...

    async def limits(self) -> Limits | None:
        """The limits known so far; None before the first answer of an account without a preset."""
        ...

    async def kept_width(self) -> LearnedWidth | None:
        """The width that an earlier run learned for a server without stated limits; None if there is no recent one."""
        ...

    async def keep_width(self, learned: LearnedWidth) -> None:
        """Keep a learned width for the next run."""
        ...

    async def close(self) -> None:
        """Close the connections. The pacer opens them again when it is used again."""
        ...


class PacerBase:
    """Lets requests wait in the order in which they asked. A subclass keeps the account."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._queue: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def reserve(self, weight: int, *, urgent: bool = False) -> Ticket:
        """See Pacer."""
        began = self._clock.now()
        if urgent:
            ticket, seconds = await self._take(weight, urgent=True)
        else:
            async with self._turn():
                while True:
                    ticket, seconds = await self._take(weight, urgent=False)
                    if seconds > MAX_WAIT_SECONDS:
                        raise ProviderUnavailable(
                            f"the account may send its next request only in {seconds / 60:,.0f} minutes (the requests "
                            "of a day are used up, or the API asked for a pause); run again then, all answers so far "
                            "are stored"
                        )
                    if ticket is not None:
                        break
                    await self._clock.sleep(min(seconds, LOOK_AGAIN_SECONDS))
        assert ticket is not None, "an urgent request is never put off"
        await self._clock.wait(seconds)
        return replace(ticket, waited_seconds=self._clock.now() - began)

    def _turn(self) -> asyncio.Lock:
        # A lock belongs to one event loop, and several loops may use a pacer one after another.
        loop = asyncio.get_running_loop()
        if self._queue is None or self._queue[0] is not loop:
            self._queue = (loop, asyncio.Lock())
        return self._queue[1]

    async def _take(self, weight: int, *, urgent: bool) -> tuple[Ticket | None, float]:
        raise NotImplementedError

    async def settle(self, ticket: Ticket, headers: RateHeaders | None) -> None:
        """See Pacer."""
        raise NotImplementedError


class LocalPacer(PacerBase):
    """A pacer for one process, for use without a database."""

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.account = Account.new(limits, self._clock.now())

    async def _take(self, weight: int, *, urgent: bool) -> tuple[Ticket | None, float]:
        return self.account.take(weight, self._clock.now(), urgent=urgent)

    async def settle(self, ticket: Ticket, headers: RateHeaders | None) -> None:
        """See Pacer."""
        self.account.settle(ticket, headers, self._clock.now())

    async def pause(self, seconds: float) -> None:
        """See Pacer."""
        self.account.pause(seconds, self._clock.now())

    async def limits(self) -> Limits | None:
        """See Pacer."""
        return self.account.limits

    async def kept_width(self) -> LearnedWidth | None:
        """See Pacer."""
        return self.account.kept_width(self._clock.now())

    async def keep_width(self, learned: LearnedWidth) -> None:
        """See Pacer."""
        self.account.keep_width(learned, self._clock.now())

    async def close(self) -> None:
        """See Pacer."""
