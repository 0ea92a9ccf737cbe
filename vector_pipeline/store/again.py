"""Work that is done again where Postgres was away: the waiting, and how long it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from vector_pipeline.errors import PipelineError
from vector_pipeline.store.failures import PostgresError, is_passing

T = TypeVar("T")

FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.1, 5.0


def again(seconds: float, work: Callable[[], T], *, log: Callable[[str], None] = lambda _: None) -> T:
    """Do some work, and again while what it fails of may pass, for so many seconds; then its last error is raised.

    The work opens its own connections, and may find done already what it is to do: a connection that is lost at COMMIT
    does not say whether it was carried out.
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
