"""The flow: take requests one by one, send them side by side as the rate limits allow, and deliver each answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from vector_pipeline.embedding.pacing.clock import Clock
from vector_pipeline.embedding.pacing.pacer import Pacer, Ticket
from vector_pipeline.embedding.pacing.width import Width
from vector_pipeline.embedding.values import Answer, EmbeddingInput, Progress, Usage

T = TypeVar("T")

# While this many answers wait to be stored, nothing new is sent: Postgres is slow or away, and answers would pile up.
MAX_UNDELIVERED = 4

# How long an interrupted run waits for the answers to the requests that it has sent.
GRACE_SECONDS = 15.0


class Sender(Protocol):
    """Sends requests: the client, or a replacement in a test."""

    @property
    def pacer(self) -> Pacer:
        """The pacer of its account."""
        ...

    @property
    def usage(self) -> Usage:
        """The usage so far."""
        ...

    @property
    def in_flight(self) -> int:
        """The number of requests under way."""
        ...

    async def reserve(self, inputs: Sequence[EmbeddingInput]) -> Ticket:
        """Wait until these texts may be sent in one request."""
        ...

    def answers(self, inputs: Sequence[EmbeddingInput], *, ticket: Ticket | None) -> AsyncIterator[Answer]:
        """Yield the vectors: one answer, or several if the request had to be split."""
        ...


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop and a thread of its own; returns its result or raises its error.

    An interrupt of this thread (Ctrl-C, or Dagster's termination of a run) cancels the coroutine. It is raised when the
    coroutine has ended, which may take some time; a second interrupt cancels it again. If the interrupt were raised
    inside the loop, it would break off requests under way.
    """
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

    async def begin() -> T:
        task = asyncio.current_task()
        assert task is not None
        begun.set_result((asyncio.get_running_loop(), task))
        return await work

    with ThreadPoolExecutor(1, "embedding") as thread:
        ended = thread.submit(lambda: asyncio.run(begin()))
        try:
            return ended.result()
        except BaseException:
            while not ended.done():
                # The loop may have ended by now. A second interrupt must not stop this waiting.
                with suppress(RuntimeError, KeyboardInterrupt):
                    loop, task = begun.result()
                    loop.call_soon_threadsafe(task.cancel)
                    wait([ended])
            raise


async def embed_batches(
    sender: Sender,
    batches: Iterable[Sequence[EmbeddingInput]],
    deliver: Callable[[Answer], Awaitable[None]],
    *,
    max_in_flight: int,
    progress: Callable[[Progress], None] | None = None,
    grace_seconds: float = GRACE_SECONDS,
    clock: Clock | None = None,
) -> Usage:
    """Embed requests side by side and pass each answer to `deliver` at once; returns the usage.

    `batches` may block and raise. It is iterated on a thread of its own, one request at a time, when another request may
    be sent. After the first error nothing more is sent. The requests under way are finished and delivered, and then the
    error is raised. `deliver` must keep answers that it cannot store; otherwise they are lost. An interrupted call waits
    `grace_seconds` for requests under way.
    """
    return await _Flow(sender, iter(batches), deliver, max_in_flight, progress, grace_seconds, clock or Clock()).run()


class _Flow:
    """One call of `embed_batches`."""

    def __init__(
        self,
        sender: Sender,
        batches: Iterator[Sequence[EmbeddingInput]],
        deliver: Callable[[Answer], Awaitable[None]],
        max_in_flight: int,
        progress: Callable[[Progress], None] | None,
        grace_seconds: float,
        clock: Clock,
    ) -> None:
        self._sender = sender
        self._max_in_flight = max_in_flight
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._batches = batches
        self._deliver = deliver
        self._progress = progress
        self._began = clock.now()
        self._width = Width(max_in_flight)
        self._running: set[asyncio.Task[None]] = set()
        self._undelivered = 0
        self._failed = asyncio.Event()
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    async def run(self) -> Usage:
        """Send all requests. Raises the first error after the requests under way are delivered."""
        thread = ThreadPoolExecutor(1, "requests")
        try:
            try:
                self._width = Width(self._max_in_flight, await self._sender.pacer.kept_width())
                await self._send_all(thread)
            except Exception as error:  # noqa: BLE001 - raised below, once what is under way is safe
                self._fail(error)
            if self._running:
                await asyncio.wait(self._running)
        except BaseException:
            # Interrupted: requests under way will be billed, so wait once for their answers.
            try:
                if self._running:
                    await asyncio.wait(self._running, timeout=self._grace_seconds)
            finally:
                for task in self._running:
                    task.cancel()
            raise
        finally:
            # Do not wait for the thread: after a failure the iterator of requests may still be blocked.
            thread.shutdown(wait=False, cancel_futures=True)
        if (learned := self._width.learned) is not None and not await self._is_paced():
            await self._sender.pacer.keep_width(learned)
        if self._error is not None:
            raise self._error
        return self._sender.usage

    async def _send_all(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while await self._has_room():
            batch = await self._unless_failed(loop.run_in_executor(thread, next, self._batches, None))
            if batch is None:
                return
            ticket = await self._unless_failed(self._sender.reserve(batch))
            if ticket is None:
                return
            task = asyncio.create_task(self._embed(batch, ticket))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._changed.set()

    async def _has_room(self) -> bool:
        """Wait until another request may be under way; returns False after a failure.

        If limits are known, the pacer delays requests, so `max_in_flight` may be under way. If there are none, the width
        is learned from the answers, beginning with the width of the last run.
        """
        while self._error is None:
            most = self._max_in_flight if await self._is_paced() else self._width.now
            if len(self._running) < most and self._undelivered < MAX_UNDELIVERED:
                return True
            self._changed.clear()
            await self._changed.wait()
        return False

    async def _is_paced(self) -> bool:
        limits = await self._sender.pacer.limits()
        return limits is not None and bool(limits.tokens_per_minute or limits.requests_per_minute)

    async def _embed(self, batch: Sequence[EmbeddingInput], ticket: Ticket) -> None:
        usage = self._sender.usage
        tokens = sum(i.tokens for i in batch)
        retries, under_way, began = usage.retries, len(self._running), self._clock.now()
        try:
            async for answer in self._sender.answers(batch, ticket=ticket):
                if usage.retries == retries:
                    self._width.answered(tokens, self._clock.now() - began, under_way)
                else:
                    self._width.failed()
                await self._hand_over(answer)
                await self._report()
        except Exception as error:  # noqa: BLE001 - kept for run(), which raises the first one
            self._fail(error)

    async def _hand_over(self, answer: Answer) -> None:
        self._undelivered += 1
        try:
            await self._deliver(answer)
        finally:
            self._undelivered -= 1
            self._changed.set()

    async def _report(self) -> None:
        if self._progress is not None:
            seconds = self._clock.now() - self._began
            limits = await self._sender.pacer.limits()
            self._progress(Progress(self._sender.usage, self._sender.in_flight, seconds, limits))

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._failed.set()
        self._changed.set()

    async def _unless_failed(self, waiting: Awaitable[T]) -> T | None:
        """The result; None as soon as something has failed, so that a long pause does not delay the error."""
        wanted, failed = asyncio.ensure_future(waiting), asyncio.ensure_future(self._failed.wait())
        try:
            await asyncio.wait({wanted, failed}, return_when=asyncio.FIRST_COMPLETED)
            return wanted.result() if wanted.done() and self._error is None else None
        finally:
            wanted.cancel()
            failed.cancel()
