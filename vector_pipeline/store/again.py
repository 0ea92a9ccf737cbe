"""Repeat work after Postgres was away, for a limited time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from vector_pipeline.errors import PipelineError
from vector_pipeline.store.failures import PostgresError, is_passing

T = TypeVar("T")

FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.1, 5.0


def again(seconds: float, work: Callable[[], T], *, log: Callable[[str], None] = lambda _: None) -> T:
    """Do some work and repeat it after temporary failures, for this many seconds. Then its last error is raised.

    The work opens its own connections. Its effect may already exist when it is repeated: if a connection is lost at
    COMMIT, it is unknown whether the COMMIT was carried out.
    """
    deadline = time.monotonic() + seconds
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            return work()
        except (PostgresError, PipelineError) as error:
            if not is_passing(error) or time.monotonic() + wait > deadline:
                raise
        if wait == FIRST_WAIT_SECONDS:
            log("Postgres is away; what was being done is done again once it is back")
        time.sleep(wait)
        wait = min(2 * wait, MAX_WAIT_SECONDS)
