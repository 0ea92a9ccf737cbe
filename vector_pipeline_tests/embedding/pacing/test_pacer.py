"""Waiting for one's turn."""

from __future__ import annotations

import asyncio
import time

import pytest

from vector_pipeline.embedding.pacing.limits import Limits, RateHeaders
from vector_pipeline.embedding.pacing.pacer import LocalPacer
from vector_pipeline.errors import ProviderUnavailable


def test_a_pacer_may_be_used_by_one_event_loop_after_another() -> None:
    """As a resource does whose synchronous `embed` runs a loop of its own each time."""
    pacer = LocalPacer()

    async def main() -> None:
        tickets = await asyncio.gather(*(ask() for _ in range(4)))
        assert len({ticket for ticket in tickets}) == 4

    async def ask() -> int:
        ticket = await pacer.reserve(10)
        await asyncio.sleep(0.02)
        await pacer.settle(ticket, RateHeaders(1_000_000, 900_000))
        return ticket.number

    for _ in range(3):
        asyncio.run(main())


@pytest.mark.slow
def test_a_search_overtakes_those_who_wait() -> None:
    pacer = LocalPacer(Limits(60_000))

    async def main() -> tuple[float, float]:
        first = await pacer.reserve(1)
        await pacer.settle(first, RateHeaders(60_000, 0))
        began = time.monotonic()
        bulk = asyncio.create_task(pacer.reserve(2_500))
        await asyncio.sleep(0.05)
        await pacer.reserve(10, urgent=True)
        searched = time.monotonic() - began
        await bulk
        return searched, time.monotonic() - began

    searched, loaded = asyncio.run(main())
    assert searched < 1.5 < loaded


def test_a_wait_until_tomorrow_ends_the_run_instead() -> None:
    pacer = LocalPacer(Limits(None, None, 2))

    async def main() -> None:
        for _ in range(4):
            await pacer.settle(await pacer.reserve(1), RateHeaders())

    with pytest.raises(ProviderUnavailable, match="of a day"):
        asyncio.run(main())


@pytest.mark.slow
def test_waiting_that_is_cancelled_lets_the_next_one_through() -> None:
    pacer = LocalPacer(Limits(6_000_000))

    async def main() -> None:
        await pacer.settle(await pacer.reserve(1), RateHeaders(6_000_000, 0))
        waiting = asyncio.create_task(pacer.reserve(5_000_000))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(asyncio.create_task(pacer.reserve(1, urgent=True)), 3)

    asyncio.run(main())
