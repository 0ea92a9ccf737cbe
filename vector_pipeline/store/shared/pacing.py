"""The state of an account's rate limits in a row of Postgres. All runs on all machines with that account share it.

The arithmetic is that of `embedding.pacing.account`. A change reads the row, computes, and writes the row if its version
is still the same; otherwise it starts again. No lock is held in between, so a stopped process does not block others.
While Postgres cannot be reached, each process continues with the state that it read last.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson
import psycopg
from psycopg import sql

from vector_pipeline.embedding.pacing.account import Account, Ticket
from vector_pipeline.embedding.pacing.limits import Limits, RateHeaders
from vector_pipeline.embedding.pacing.pacer import PacerBase
from vector_pipeline.embedding.pacing.width import LearnedWidth
from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.errors import DatabaseError
from vector_pipeline.store.connection import SHARED_SCHEMA, Connection, Database

T = TypeVar("T")

# If Postgres cannot be reached, it is tried again after this time, because an attempt may itself take seconds.
AWAY_SECONDS = 5.0

# If others change the row this often in a row, something is wrong. The process then uses its own state for a while.
MAX_ATTEMPTS = 200

CLOCK_TOLERANCE_SECONDS = 60.0

_TABLE = sql.Identifier(SHARED_SCHEMA, "pacing")
_READ = sql.SQL(
    "SELECT version, state, extract(epoch FROM pg_catalog.clock_timestamp())::float8 FROM {} WHERE bucket = %s"
).format(_TABLE)
_WRITE = sql.SQL(
    "UPDATE {} SET version = version + 1, state = %s, updated_at = pg_catalog.clock_timestamp() WHERE "
    "bucket = %s AND version = %s"
).format(_TABLE)
_CREATE = sql.SQL("INSERT INTO {} (bucket) VALUES (%s) ON CONFLICT DO NOTHING").format(_TABLE)


class PostgresPacer(PacerBase):
    """A pacer whose state all users of an account share (see embedding.pacing.pacer.Pacer)."""

    def __init__(self, database: Database, bucket: str, limits: Limits | None = None) -> None:
        super().__init__()
        self._database = database
        self._bucket = bucket
        self._preset = limits
        self._connection: Connection | None = None
        # One thread, because a connection runs one statement at a time. It is separate from the common threads, because
        # those may be busy with storing answers.
        self._thread: ThreadPoolExecutor | None = None
        self._account = Account.new(limits, 0.0)
        self._clock_offset = -time.monotonic()
        """The server's clock minus this process's clock."""
        self._away_until = 0.0

    @classmethod
    def of(cls, database: Database, config: ClientConfig) -> PostgresPacer:
        """The pacer of a client's account."""
        return cls(database, config.bucket, config.limits)

    async def pause(self, seconds: float) -> None:
        """See Pacer."""
        await self._change(lambda account, now: account.pause(seconds, now))

    async def limits(self) -> Limits | None:
        """See Pacer."""
        return self._account.limits

    async def kept_width(self) -> LearnedWidth | None:
        """See Pacer."""
        return await self._change(lambda account, now: account.kept_width(now))

    async def keep_width(self, learned: LearnedWidth) -> None:
        """See Pacer."""
        await self._change(lambda account, now: account.keep_width(learned, now))

    async def close(self) -> None:
        """See Pacer."""
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
            self._thread.shutdown(wait=False)
            self._thread = None

    async def _take(self, weight: int, *, urgent: bool) -> tuple[Ticket | None, float]:
        return await self._change(lambda account, now: account.take(weight, now, urgent=urgent))

    async def settle(self, ticket: Ticket, headers: RateHeaders | None) -> None:
        """See Pacer."""
        await self._change(lambda account, now: account.settle(ticket, headers, now))

    async def _change(self, change: Callable[[Account, float], T]) -> T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "pacing")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._change_now, change)

    def _change_now(self, change: Callable[[Account, float], T]) -> T:
        if time.monotonic() >= self._away_until:
            try:
                return self._change_row(change)
            except (psycopg.Error, DatabaseError):
                # Pacing continues without Postgres. The code that stores answers reports what is wrong.
                self._disconnect()
                self._away_until = time.monotonic() + AWAY_SECONDS
        return change(self._account, time.monotonic() + self._clock_offset)

    def _change_row(self, change: Callable[[Account, float], T]) -> T:
        connection = self._connected()
        for attempt in range(MAX_ATTEMPTS):
            row = connection.execute(_READ, (self._bucket,), prepare=True).fetchone()
            if row is None:
                connection.execute(_CREATE, (self._bucket,))
                continue
            version, state, now = row
            self._clock_offset = now - time.monotonic()
            account = self._read(state, now)
            before = orjson.dumps(account)
            result = change(account, now)
            after = orjson.dumps(account)
            self._account = account
            if after == before:
                return result
            if connection.execute(_WRITE, (after.decode(), self._bucket, version), prepare=True).rowcount:
                return result
            time.sleep(random.uniform(0, 0.001 * min(attempt + 1, 10)))
        raise DatabaseError(f"the row of bucket '{self._bucket}' in {SHARED_SCHEMA}.pacing changes without pause")

    def _read(self, state: dict[str, Any] | None, now: float) -> Account:
        if state is None:
            return Account.new(self._preset, now)
        try:
            account = Account.from_json(state)
        except TypeError:
            # Somebody else wrote it. It is only what was learned, and is learned again.
            return Account.new(self._preset, now)
        if account.is_ahead(now, CLOCK_TOLERANCE_SECONDS):
            # The server's clock was set back. Until it catches up, nothing would refill and no request would be sent.
            return Account.new(self._preset, now)
        account.expect(self._preset or Limits(), now)
        return account

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = self._database.connect(role="pacing")
            # A crash may lose the last reservations, which does no harm. Waiting for the disk each time would take long.
            connection.execute("SET synchronous_commit = off")
            connection.execute("SET statement_timeout = '5s'")
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def why_no_answer(database: Database, bucket: str) -> str:
    """Why an account's requests may have no answer yet, in a few words, as far as the shared state tells."""
    try:
        with database.connect(role="pacing") as connection:
            row = connection.execute(_READ, (bucket,)).fetchone()
    except (psycopg.Error, DatabaseError):
        return "Postgres is away, and nothing new is sent until it is back"
    if row is None or row[1] is None:
        return "the first request is under way"
    account, now = Account.from_json(row[1]), row[2]
    if (paused := account.paused_until - now) > 1.0:
        return f"the API asked the account to wait (429), for another {paused:,.0f} s"
    debts = [meter.debt_seconds(now) for meter in (account.tokens, account.requests, account.day) if meter is not None]
    if (used_up := max(debts, default=0.0)) > 1.0:
        return f"all runs together have used up the account's rate limits, for another {used_up:,.0f} s"
    return "its requests are under way, or tried again after failures"
