"""The clock that client, flow and pacer use. A test passes a clock of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """The time in seconds from an arbitrary beginning, and a way to wait."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def wait(self, seconds: float) -> None:
        """Wait for some seconds; return at once for zero or less."""
        if seconds > 0:
            await self.sleep(seconds)
