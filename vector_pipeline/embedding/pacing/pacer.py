"""When a request may be sent: waiting for one's turn under an account's limits (see `account` for the arithmetic).

`LocalPacer` keeps the account in this process; `store.pacing.PostgresPacer` in a row that all machines share.
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

# A wait is looked at again after this, in case an answer has told that there is more to be had.
LOOK_AGAIN_SECONDS = 2.0

# Limits of a minute never make anybody wait so long: those of a day do, and then the run has to end.
MAX_WAIT_SECONDS = 900.0


class Pacer(Protocol):
    """Lets requests through as the limits of an account allow; may be shared by processes and machines."""

    async def reserve(self, weight: int, *, urgent: bool = False) -> Ticket:
        """Wait until a request of a weight in tokens may be sent; an urgent one (a search) passes the queue.

        Raises ProviderUnavailable where a day's limit is used up.
        """
        ...

    async def settle(self, ticket: Ticket, headers: RateHeaders | None) -> None:
        """Tell that a request was answered, and what its headers say; None where it failed without any."""
        ...

    async def pause(self, seconds: float) -> None:
        """Let nobody send for a while, as a 429 asked for."""
        ...

    async def limits(self) -> Limits | None:
        """The limits as known by now; None before the first answer of an account without a preset."""
        ...

    async def kept_width(self) -> LearnedWidth | None:
        """What an earlier run found out of a server that states no limits; None where none did lately."""
        ...

    async def keep_width(self, learned: LearnedWidth) -> None:
        """Keep it for the next."""
        ...

    async def close(self) -> None:
        """Let go of connections; the pacer opens them again when it is used again."""
        ...


class PacerBase:
    """Waiting, in the order in which requests asked; where the account is kept is the subclass's."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._queue: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._under_way: dict[int, int] = {}

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
                            f"the account may send its next request only in {seconds / 60:,.0f} minutes "
                            "(requests a day, or a pause that it was asked for); run again then, what was answered is "
                            "kept"
                        )
                    if ticket is not None:
                        break
                    await self._clock.sleep(min(seconds, LOOK_AGAIN_SECONDS))
        assert ticket is not None, "an urgent request is never put off"
        await self._clock.wait(seconds)
        self._under_way[ticket.number] = weight
        return replace(ticket, waited_seconds=self._clock.now() - began)

    async def settle(self, ticket: Ticket, headers: RateHeaders | None) -> None:
        """See Pacer."""
        self._under_way.pop(ticket.number, None)
        earlier = [weight for number, weight in self._under_way.items() if number < ticket.number]
        await self._settle(ticket, headers, (sum(earlier), len(earlier)))

    def _turn(self) -> asyncio.Lock:
        # A lock belongs to one event loop; a pacer may be used by one after another.
        loop = asyncio.get_running_loop()
        if self._queue is None or self._queue[0] is not loop:
            self._queue = (loop, asyncio.Lock())
        return self._queue[1]

    async def _take(self, weight: int, *, urgent: bool) -> tuple[Ticket | None, float]:
        raise NotImplementedError

    async def _settle(self, ticket: Ticket, headers: RateHeaders | None, before: tuple[int, int]) -> None:
        raise NotImplementedError


class LocalPacer(PacerBase):
    """A pacer for one process, for use without a database."""

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.account = Account.new(limits, self._clock.now())

    async def _take(self, weight: int, *, urgent: bool) -> tuple[Ticket | None, float]:
        return self.account.take(weight, self._clock.now(), urgent=urgent)

    async def _settle(self, ticket: Ticket, headers: RateHeaders | None, before: tuple[int, int]) -> None:
        self.account.settle(ticket, headers, self._clock.now(), before=before)

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
