"""The client: texts in requests to vectors, paced, retried under a budget of time, and split down to a bad text.

The official SDK does the HTTP, without its own retries: those would hold a place and be sent unpaced. Nothing is
stored here; each answer is handed to the caller the moment it comes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import httpx2
import numpy as np
import openai
from pydantic import SecretStr

from vector_pipeline.embedding.answers import (
    BrokenAnswer,
    Kind,
    Problem,
    Vectors,
    WrongDimensions,
    classify,
    decode_vectors,
)
from vector_pipeline.embedding.models import KNOWN_MODELS
from vector_pipeline.embedding.pacing import Limits, Pacer, RateHeaders, wait
from vector_pipeline.errors import ProviderRefused, ProviderUnavailable, QuotaExhausted

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class EmbeddingInput:
    """A text to be embedded, with its exact token count and what it is stored under."""

    text: str
    tokens: int
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """Vectors of some inputs: shape (len(inputs), dimensions), float32, in the order of `inputs`.

    `rejected` maps the content hash of a text that the API refuses to its reason; such a text is not in `inputs`.
    """

    inputs: Sequence[EmbeddingInput]
    vectors: Vectors
    tokens: int
    model: str
    rejected: Mapping[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Which model to ask, where, and within which bounds. Times are in seconds."""

    model: str
    dimensions: int | None = None
    base_url: str | None = None
    api_key: SecretStr | None = None
    organization: str | None = None
    project: str | None = None
    timeout_seconds: float = 120.0
    retry_seconds: float = 600.0
    max_in_flight: int = 32
    limits: Limits | None = None

    def for_model(self, model: str, dimensions: int | None) -> ClientConfig:
        """The same for another model, whose limits are its own."""
        return self if model == self.model and dimensions == self.dimensions else replace(
            self, model=model, dimensions=dimensions, limits=self.limits if model == self.model else None
        )

    @property
    def bucket(self) -> str:
        """What shares one rate limit: base URL, organisation, project and model, never the key."""
        parts = (self.base_url or "default", self.organization or "", self.project or "", self.model)
        return "|".join(parts)


@dataclass(slots=True)
class Usage:
    """What was asked of the API; `tokens` are those billed, `seconds_waited` for the rate."""

    requests: int = 0
    inputs: int = 0
    tokens: int = 0
    retries: int = 0
    rate_limited: int = 0
    seconds_waited: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands."""

    usage: Usage
    in_flight: int
    seconds: float
    limits: Limits | None

    def __str__(self) -> str:
        rate = self.usage.tokens / max(self.seconds, 1e-9) * 60
        limit = self.limits.tokens_per_minute if self.limits else None
        against = f" of {limit:,}" if limit else ""
        return (
            f"{self.usage.inputs:,} texts embedded in {self.usage.requests:,} requests, "
            f"{rate:,.0f}{against} tokens a minute, {self.in_flight} requests in flight"
        )


class EmbeddingClient:
    """One client for one run: connections are reused. Use as an async context manager."""

    def __init__(
        self, config: ClientConfig, pacer: Pacer, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.config = config
        self.usage = Usage()
        self._pacer = pacer
        self._transport = transport
        self._base64 = True
        self._in_flight = 0
        self._sdk: openai.AsyncOpenAI | None = None

    async def __aenter__(self) -> Self:
        config = self.config
        limits = httpx2.Limits(
            max_connections=config.max_in_flight + 4, max_keepalive_connections=config.max_in_flight + 4
        )
        http = httpx2.AsyncClient(
            transport=self._transport, limits=limits, timeout=httpx2.Timeout(config.timeout_seconds, connect=10.0)
        )
        self._sdk = openai.AsyncOpenAI(
            # Servers of one's own need no key, but the SDK wants one.
            api_key=config.api_key.get_secret_value() if config.api_key else "none",
            base_url=config.base_url or ("http://embedded/v1" if self._transport else None),
            organization=config.organization,
            project=config.project,
            max_retries=0,
            http_client=http,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sdk is not None:
            await self._sdk.close()

    async def embed(self, inputs: Sequence[EmbeddingInput], *, urgent: bool = False) -> Answer:
        """Vectors of one request's texts.

        Raises ProviderRefused (QuotaExhausted where no money is left) and ProviderUnavailable; a text that cannot
        be embedded is in the answer's `rejected`.
        """
        deadline = time.monotonic() + self.config.retry_seconds
        attempt = 0
        while True:
            outcome = await self._request(inputs, urgent=urgent)
            if isinstance(outcome, Answer):
                return outcome
            if outcome.kind is Kind.QUOTA:
                raise QuotaExhausted(f"the account has no quota left ({outcome.message}); see its billing page")
            if outcome.kind is Kind.REFUSED:
                raise ProviderRefused(f"{self._where} refuses ({outcome.message}); {_advice(outcome)}")
            if outcome.kind is Kind.SPLIT:
                return await self._split(inputs, outcome, urgent=urgent)
            attempt += 1
            self.usage.retries += 1
            pause = _backoff(attempt, outcome.wait_seconds)
            if time.monotonic() + pause > deadline:
                raise ProviderUnavailable(
                    f"{self._where} did not answer within {self.config.retry_seconds:,.0f} s ({outcome.message}); "
                    "what it answered before is stored, and the next run goes on from there"
                )
            if outcome.kind is Kind.RATE_LIMITED:
                self.usage.rate_limited += 1
                await self._pacer.pause(pause)
            else:
                await wait(pause)

    async def embed_batches(
        self,
        batches: Iterable[Sequence[EmbeddingInput]],
        deliver: Callable[[Answer], Awaitable[None]],
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> Usage:
        """Embed requests side by side and hand each answer to `deliver` as it comes; returns what was used.

        `batches` may block and may raise: it is taken from on another thread, one request at a time, and never more
        than `max_in_flight` ahead. At the first error nothing more is sent, what is under way is finished and
        delivered, and then the error is raised.
        """
        return await _Flow(self, iter(batches), deliver, progress).run()

    @property
    def _where(self) -> str:
        return f"{self.config.base_url or 'the API'} (model {self.config.model})"

    async def _request(self, inputs: Sequence[EmbeddingInput], *, urgent: bool) -> Answer | Problem:
        """One request, sent when the pacer lets it."""
        weight = sum(max(i.tokens, len(i.text) // 4) for i in inputs)
        ticket = await self._pacer.reserve(weight, urgent=urgent)
        self.usage.seconds_waited += ticket.wait_seconds
        headers: RateHeaders | None = None
        try:
            await wait(ticket.wait_seconds)
            self.usage.requests += 1
            self._in_flight += 1
            try:
                response = await self._send(inputs)
            finally:
                self._in_flight -= 1
            headers = RateHeaders.of(response.headers)
            vectors, tokens, model, packed = decode_vectors(response.content, len(inputs), self.config.dimensions)
            self._base64 = self._base64 and packed
        except openai.APIStatusError as error:
            seen = RateHeaders.of(error.response.headers)
            headers = seen if seen.stated else None
            return classify(error.status_code, error.response.headers, error.body or error.message)
        except openai.APITimeoutError:
            return Problem(Kind.RETRY, f"no answer within {self.config.timeout_seconds:,.0f} s")
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            return Problem(Kind.RETRY, f"connection lost ({_cause(error)})")
        except BrokenAnswer as error:
            return Problem(Kind.RETRY, str(error))
        except WrongDimensions as error:
            return Problem(Kind.REFUSED, str(error))
        finally:
            await self._pacer.settle(ticket, headers)
        tokens = tokens or sum(i.tokens for i in inputs)
        self.usage.tokens += tokens
        self.usage.inputs += len(inputs)
        return Answer(inputs, vectors, tokens, model)

    async def _send(self, inputs: Sequence[EmbeddingInput]) -> httpx2.Response:
        assert self._sdk is not None, "use the client as an async context manager"
        options: dict[str, Any] = {"encoding_format": "base64" if self._base64 else "float"}
        known = KNOWN_MODELS.get(self.config.model)
        # Sent only where it says something: servers whose model cannot be shortened refuse the field itself.
        if self.config.dimensions and known and known.takes_dimensions and self.config.dimensions != known.dimensions:
            options["dimensions"] = self.config.dimensions
        raw = await self._sdk.embeddings.with_raw_response.create(
            model=self.config.model, input=[i.text for i in inputs], **options
        )
        return raw.http_response

    async def _split(self, inputs: Sequence[EmbeddingInput], problem: Problem, *, urgent: bool) -> Answer:
        """The request in parts: the text that the message names apart from the others, else in halves."""
        if len(inputs) == 1:
            shown = " ".join(inputs[0].text[:80].split())
            reason = f"the API refuses the text beginning '{shown}' ({problem.message})"
            return Answer([], np.zeros((0, 0), np.float32), 0, "", {inputs[0].content_hash: reason})
        culprit = problem.culprit
        if culprit is not None and culprit < len(inputs):
            parts = [[*inputs[:culprit], *inputs[culprit + 1 :]], [inputs[culprit]]]
        else:
            middle = len(inputs) // 2
            parts = [list(inputs[:middle]), list(inputs[middle:])]
        return _joined([await self.embed(part, urgent=urgent) for part in parts])


class _Flow:
    """Requests side by side: as many as the rate and the latency ask for, found out while it runs."""

    def __init__(
        self,
        client: EmbeddingClient,
        batches: Iterator[Sequence[EmbeddingInput]],
        deliver: Callable[[Answer], Awaitable[None]],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._client = client
        self._batches = batches
        self._deliver = deliver
        self._progress = progress
        self._began = time.monotonic()
        self._running: set[asyncio.Task[None]] = set()
        self._width = 1.0
        self._error: BaseException | None = None

    async def run(self) -> Usage:
        try:
            while self._error is None:
                await self._make_room()
                if self._error is not None:
                    break
                batch = await asyncio.to_thread(next, self._batches, None)
                if batch is None:
                    break
                self._running.add(asyncio.create_task(self._embed(batch)))
        except Exception as error:  # noqa: BLE001 - raised below, once what is under way is safe
            self._error = self._error or error
        if self._running:
            await asyncio.wait(self._running)
        if self._error is not None:
            raise self._error
        return self._client.usage

    async def _make_room(self) -> None:
        """Wait until another request may be under way.

        Before the first answer it is one. Where limits are known the pacer holds requests back, so there may be as
        many as are allowed at all; where there are none, one more with each answer and half as many at a 429.
        """
        limits = await self._client._pacer.limits()
        most = self._client.config.max_in_flight
        paced = limits is not None and bool(limits.tokens_per_minute or limits.requests_per_minute)
        width = most if paced else max(1, min(most, int(self._width)))
        while len(self._running) >= width and self._error is None:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            width = most if paced else max(1, min(most, int(self._width)))

    async def _embed(self, batch: Sequence[EmbeddingInput]) -> None:
        limited = self._client.usage.rate_limited
        try:
            answer = await self._client.embed(batch)
            await self._deliver(answer)
        except BaseException as error:  # noqa: BLE001 - kept for run(), which raises the first one
            self._error = self._error or error
        else:
            self._width = self._width + 1 if self._client.usage.rate_limited == limited else max(1, self._width / 2)
            if self._progress is not None:
                seconds = time.monotonic() - self._began
                limits = await self._client._pacer.limits()
                self._progress(Progress(self._client.usage, self._client._in_flight, seconds, limits))
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._running.discard(task)


def _backoff(attempt: int, named: float | None) -> float:
    """Seconds to wait: what the answer names and a little more, else doubling with full jitter."""
    if named is not None:
        return named + random.uniform(0.01, 0.1)
    return random.uniform(0.5, 1.0) * min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (attempt - 1))


def _joined(parts: Sequence[Answer]) -> Answer:
    full = [part for part in parts if part.inputs]
    rejected = {key: reason for part in parts for key, reason in part.rejected.items()}
    if not full:
        return Answer([], np.zeros((0, 0), np.float32), 0, "", rejected)
    inputs = [i for part in full for i in part.inputs]
    vectors = np.concatenate([part.vectors for part in full])
    return Answer(inputs, vectors, sum(part.tokens for part in full), full[0].model, rejected)


def _advice(problem: Problem) -> str:
    status = problem.message[:3]
    return {
        "401": "check OPENAI_API_KEY",
        "403": "this key has no right to the model or from here",
        "404": "check VECTOR_PIPELINE_MODEL and OPENAI_BASE_URL",
    }.get(status, "check VECTOR_PIPELINE_MODEL and VECTOR_PIPELINE_DIMENSIONS")


def _cause(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__
