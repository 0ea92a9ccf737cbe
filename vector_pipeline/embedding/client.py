"""The client: texts in requests to vectors, paced, retried under a budget of time, and split down to a bad text.

The official SDK does the HTTP, without its own retries: those would hold a place and be sent unpaced. Nothing is
stored here; each answer is handed to the caller the moment it comes.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import httpx2
import numpy as np
import openai

from vector_pipeline.embedding.models import KNOWN_MODELS
from vector_pipeline.embedding.pacing.pacer import Pacer, RateHeaders, Ticket, wait
from vector_pipeline.embedding.requests import weigh
from vector_pipeline.embedding.responses import (
    BrokenAnswer,
    Decoded,
    HiddenError,
    Kind,
    Problem,
    WrongDimensions,
    classify,
    decode_vectors,
)
from vector_pipeline.embedding.values import Answer, ClientConfig, EmbeddingInput, Progress, Usage
from vector_pipeline.errors import (
    ConfigurationError,
    ProviderRefused,
    ProviderUnavailable,
    QuotaExhausted,
    one_line,
)

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0

# Answers that are none, and billed all the same, are asked for again so often at most.
MOST_BILLED_ATTEMPTS = 5

# A request that failed so often in the same way is split, if the server answers others meanwhile; one that is billed
# each time sooner, and a text alone, which is rejected then, later.
ALIKE = 3
ALIKE_AND_BILLED = 2
ALIKE_ALONE = 5

# An answer to this tells a server that is down from one that fails for a text.
WORD = EmbeddingInput("word", 1, b"")

# Errors before the server saw anything of a request.
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

# A word that was not answered is not sent again before this.
PROBE_KEPT_SECONDS = 2.0

# Bytes of an answer from which it is decoded on another thread: about ten milliseconds' work.
LARGE_ANSWER = 1 << 20

# Of one request (https://platform.openai.com/docs/api-reference/embeddings/create); less where a server refuses.
MAX_INPUTS = 2_048

# The SDK would else look for it in the environment, which only settings do here.
API_URL = "https://api.openai.com/v1"

__all__ = ["Answer", "ClientConfig", "EmbeddingClient", "EmbeddingInput", "Progress", "Usage", "joined"]


class EmbeddingClient:
    """One client for one run: connections are reused. Use as an async context manager.

    `usage` is counted up as answers come, so that whoever gave it knows what was paid however the work ends.
    `undelivered` holds the answers that `embed_batches` could not hand over because `deliver` failed.
    """

    def __init__(
        self,
        config: ClientConfig,
        pacer: Pacer,
        transport: httpx2.AsyncBaseTransport | None = None,
        *,
        usage: Usage | None = None,
    ) -> None:
        self.config = config
        self.pacer = pacer
        self.usage = Usage() if usage is None else usage
        self.in_flight = 0
        self.undelivered: list[Answer] = []
        self._answered_at = self._probed_at = -math.inf
        self._probing = asyncio.Lock()
        self._transport = transport
        self._base64 = True
        self._most_inputs = MAX_INPUTS
        known = KNOWN_MODELS.get(config.model)
        # Only where it says something: some models cannot be shortened, and their servers refuse the field itself.
        self._sends_dimensions = config.dimensions is not None and (
            known is None or known.dimensions != config.dimensions
        )
        self._sdk: openai.AsyncOpenAI | None = None

    async def __aenter__(self) -> Self:
        config = self.config
        most = config.max_in_flight + 4
        http = httpx2.AsyncClient(
            transport=self._transport,
            auth=config.credentials,
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most),
            timeout=httpx2.Timeout(config.timeout_seconds, connect=min(10.0, config.timeout_seconds)),
        )
        base_url = config.address or ("http://embedded/v1" if self._transport else API_URL)
        with explained_configuration():
            self._sdk = openai.AsyncOpenAI(
                api_key=config.key,
                base_url=base_url,
                organization=config.organization,
                project=config.project,
                max_retries=0,
                http_client=http,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sdk is not None:
            await self._sdk.close()
        await self.pacer.close()

    async def embed(self, inputs: Sequence[EmbeddingInput], *, urgent: bool = False) -> Answer:
        """Vectors of one request's texts.

        Raises ProviderRefused (QuotaExhausted where no money is left) and ProviderUnavailable; a text that cannot
        be embedded is in the answer's `rejected`.
        """
        return joined([answer async for answer in self.answers(inputs, urgent=urgent)])

    async def answers(
        self, inputs: Sequence[EmbeddingInput], *, urgent: bool = False, ticket: Ticket | None = None
    ) -> AsyncIterator[Answer]:
        """The vectors as they come: one answer, or several where the request had to be split.

        Raises as `embed` does; what was yielded before is paid and good. `ticket` is the pacer's, if it gave one.
        """
        todo: list[tuple[Sequence[EmbeddingInput], str | None]] = [(inputs, None)]
        while todo:
            part, suspected = todo.pop()
            if len(part) > self._most_inputs:
                todo.extend(((part[self._most_inputs :], suspected), (part[: self._most_inputs], suspected)))
                continue
            answer = await self._persist(part, urgent, ticket, suspected)
            ticket = None
            if isinstance(answer, Answer):
                yield answer
                if len(answer.inputs) < len(part):
                    # The others' vectors were useless.
                    answered = {i.content_hash for i in answer.inputs}
                    todo.append(([i for i in part if i.content_hash not in answered], None))
            elif answer.kind is Kind.USELESS:
                yield _rejection(part, answer)
            elif len(part) == 1:
                await self._require_that_it_is_the_text(part[0], answer, urgent)
                yield _rejection(part, answer)
            else:
                if answer.whole:
                    # The requests that follow need not find it out again.
                    self._most_inputs = min(self._most_inputs, max(1, len(part) // 2))
                todo.extend((smaller, answer.repeated) for smaller in reversed(_parts(part, answer)))

    async def reserve(self, inputs: Sequence[EmbeddingInput], *, urgent: bool = False) -> Ticket:
        """Wait for the pacer's leave to send these texts in one request."""
        ticket = await self.pacer.reserve(sum(map(_weight, inputs)), urgent=urgent)
        self.usage.seconds_waited += ticket.waited_seconds
        return ticket

    async def _require_that_it_is_the_text(self, refused: EmbeddingInput, problem: Problem, urgent: bool) -> None:
        """Raise ProviderRefused where it is not the fault of a text that it was refused."""
        if problem.account:
            raise ProviderRefused(
                f"{self.config.where} will never take a text of {refused.tokens:,} tokens ({problem.message}); raise "
                "the account's limit, or lower VECTOR_PIPELINE_CHUNK_TOKENS"
            )
        # A server that has not taken one text yet may call anything its input. One word tells, before all are rejected.
        if not problem.of_text and not problem.repeated and self._answered_at == -math.inf:
            word = await self._persist([WORD], urgent, None)
            self._forget_word(word)
            if not isinstance(word, Answer):
                raise ProviderRefused(f"{self.config.where} refuses every text ({problem.message}); {_advice(problem)}")

    async def _persist(
        self, inputs: Sequence[EmbeddingInput], urgent: bool, ticket: Ticket | None, suspected: str | None = None
    ) -> Answer | Problem:
        """The answer to one request, asked for again while it may help; or why it must be split.

        `suspected` is the signature of the failure that a larger request with these texts ended in.
        """
        deadline = time.monotonic() + self.config.retry_seconds
        seen: Counter[Kind] = Counter()
        failures = _Failures(suspected)
        while True:
            ticket = ticket or await self.reserve(inputs, urgent=urgent)
            outcome, ticket = await self._request(inputs, ticket), None
            if isinstance(outcome, Answer) or outcome.kind is Kind.SPLIT:
                return outcome
            seen[outcome.kind] += 1
            failures.add(outcome, time.monotonic())
            pause = _backoff(seen.total(), outcome.wait_seconds)
            over = time.monotonic() + pause > deadline
            if failures.point_at_a_text(len(inputs), over) and await self._answers_others(failures, inputs, urgent):
                return replace(
                    outcome,
                    kind=Kind.USELESS if outcome.kind is Kind.USELESS else Kind.SPLIT,
                    message=f"{outcome.message}, again and again, while others are answered",
                    repeated=outcome.signature,
                )
            self._raise_if_hopeless(outcome, seen)
            self.usage.retries += 1
            if outcome.kind in (Kind.NO_BASE64, Kind.NO_DIMENSIONS):
                self._base64 = self._base64 and outcome.kind is not Kind.NO_BASE64
                self._sends_dimensions = self._sends_dimensions and outcome.kind is not Kind.NO_DIMENSIONS
                continue
            if over:
                asked = f", which asks to wait {outcome.wait_seconds:,.0f} s" if outcome.wait_seconds else ""
                raise ProviderUnavailable(
                    f"{self.config.where} did not answer within {self.config.retry_seconds:,.0f} s ({outcome.message}"
                    f"{asked}); what it answered before is stored, and the next run goes on from there"
                )
            if outcome.kind is Kind.RATE_LIMITED:
                self.usage.rate_limited += 1
                # Where nothing is said of how long, the limit may be on what runs at once: only this one waits.
                if outcome.wait_seconds is not None:
                    await self.pacer.pause(pause)
            await wait(pause)

    async def _answers_others(self, failures: _Failures, inputs: Sequence[EmbeddingInput], urgent: bool) -> bool:
        """Whether the server answers other requests while this one fails; where there was none, a word is sent."""
        # A text that is rejected at the end of it needs newer evidence than a request that is split.
        since = failures.last_at if len(inputs) == 1 else failures.since
        if failures.useless:
            # It was answered, and billed: any vector that was good tells that the model can.
            since = -math.inf
        async with self._probing:
            if self._answered_at > since:
                return True
            if time.monotonic() < self._probed_at + PROBE_KEPT_SECONDS:
                return False
            word = await self._request([WORD], await self.reserve([WORD], urgent=urgent))
            self._forget_word(word)
            if not isinstance(word, Answer):
                self._probed_at = time.monotonic()
            return isinstance(word, Answer)

    def _forget_word(self, word: Answer | Problem) -> None:
        """It is none of the texts that were to be embedded, though its tokens are billed."""
        if isinstance(word, Answer):
            self.usage.inputs -= len(word.inputs)

    def _raise_if_hopeless(self, outcome: Problem, seen: Counter[Kind]) -> None:
        if outcome.kind is Kind.QUOTA:
            raise QuotaExhausted(f"the account has no quota left ({outcome.message}); see its billing page")
        # The two ways of asking for less are tried once each.
        again = outcome.kind in (Kind.NO_BASE64, Kind.NO_DIMENSIONS) and seen[outcome.kind] > 1
        if outcome.kind is Kind.REFUSED or again:
            raise ProviderRefused(f"{self.config.where} refuses ({outcome.message}); {_advice(outcome)}")
        if seen[Kind.BROKEN] + seen[Kind.USELESS] >= MOST_BILLED_ATTEMPTS:
            raise ProviderUnavailable(
                f"{self.config.where} answered {MOST_BILLED_ATTEMPTS} times with what is no answer "
                f"({outcome.message}), and may bill each; is VECTOR_PIPELINE_MODEL an embedding model, and "
                "OPENAI_BASE_URL right?"
            )

    async def _request(self, inputs: Sequence[EmbeddingInput], ticket: Ticket) -> Answer | Problem:
        """One request, sent now."""
        headers: RateHeaders | None = None
        self.usage.requests += 1
        self.in_flight += 1
        try:
            # The SDK's own timeout is for each read: what comes in drops would never end.
            async with asyncio.timeout(self.config.timeout_seconds):
                response = await self._send(inputs)
            headers = RateHeaders.of(response.headers)
            body = (response.content, len(inputs), self.config.dimensions)
            # A large answer takes long enough to decode to hold up the others' sending.
            large = len(response.content) > LARGE_ANSWER
            found = await asyncio.to_thread(decode_vectors, *body) if large else decode_vectors(*body)
        except UnicodeEncodeError:
            # Nothing was sent: a lone surrogate has no bytes in UTF-8.
            culprit = next(n for n, i in enumerate(inputs) if not _has_bytes(i.text))
            return Problem(Kind.SPLIT, "it holds a lone surrogate, half a character", culprit=culprit, of_text=True)
        except openai.APIStatusError as error:
            body_or_text = error.body or error.message
            seen = RateHeaders.of(error.response.headers, str(body_or_text) if error.status_code == 429 else "")
            headers = seen if seen.stated else None
            return classify(error.status_code, error.response.headers, body_or_text, self.config.without_secrets)
        except HiddenError as error:
            return classify(error.status, response.headers, error.body, self.config.without_secrets)
        except (openai.APITimeoutError, TimeoutError):
            return Problem(Kind.RETRY, f"no answer within {self.config.timeout_seconds:,.0f} s")
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            cause = _root(error)
            said = self.config.without_secrets(f"{type(cause).__name__}: {one_line(cause)}")
            unseen = isinstance(error.__cause__ or error, NEVER_SENT)
            return Problem(Kind.RETRY, f"connection lost ({said.removesuffix(': ')})", unseen=unseen)
        except BrokenAnswer as error:
            return Problem(Kind.BROKEN, str(error))
        except WrongDimensions as error:
            # A model that answered others as it should has this fault with these texts alone.
            answered = self._answered_at > -math.inf
            return Problem(Kind.USELESS if answered else Kind.REFUSED, str(error))
        finally:
            self.in_flight -= 1
            await self.pacer.settle(ticket, headers)
        self._base64 = self._base64 and found.packed
        return self._answer(inputs, found)

    def _answer(self, inputs: Sequence[EmbeddingInput], found: Decoded) -> Answer | Problem:
        """The vectors that are of use, and all that they cost; none of them is a problem."""
        tokens = found.tokens or sum(i.tokens for i in inputs)
        self.usage.tokens += tokens
        useless = set(found.useless)
        good = [n for n in range(len(inputs)) if n not in useless]
        if not good:
            return Problem(Kind.USELESS, "a vector that is zero, or holds NaN or infinity")
        self.usage.inputs += len(good)
        self._answered_at = time.monotonic()
        if not useless:
            return Answer(inputs, found.vectors, tokens, found.model)
        return Answer([inputs[n] for n in good], found.vectors[good], tokens, found.model)

    async def _send(self, inputs: Sequence[EmbeddingInput]) -> httpx2.Response:
        assert self._sdk is not None, "use the client as an async context manager"
        options: dict[str, Any] = {"encoding_format": "base64" if self._base64 else "float"}
        if self._sends_dimensions:
            options["dimensions"] = self.config.dimensions
        raw = await self._sdk.embeddings.with_raw_response.create(
            model=self.config.model, input=[i.text for i in inputs], **options
        )
        return raw.http_response


@dataclass(slots=True)
class _Failures:
    """How one request failed so far, and whether one of its texts may be the reason."""

    suspected: str | None
    alike: int = 0
    """How often in the same way, the last time included."""
    since: float = 0.0
    """When it first failed in this way."""
    last_at: float = 0.0
    _last: Problem | None = None
    _all_may_be: bool = True

    def add(self, problem: Problem, now: float) -> None:
        """Take note of a failure."""
        if problem.kind is Kind.RATE_LIMITED:
            return
        self._all_may_be = self._all_may_be and problem.may_be_of_text
        if self._last is None or self._last.signature != problem.signature:
            self.alike, self.since = 0, now
        self.alike += 1
        self._last, self.last_at = problem, now

    @property
    def useless(self) -> bool:
        """Whether the last answer held vectors, and none of use."""
        return self._last is not None and self._last.kind is Kind.USELESS

    def point_at_a_text(self, inputs: int, over: bool) -> bool:
        """Whether it is time to suspect a text; `over` is whether there is no time to ask again."""
        last = self._last
        if last is None or not last.may_be_of_text:
            return False
        billed = last.kind in (Kind.BROKEN, Kind.USELESS)
        if inputs > 1 or self.useless:
            enough = 1 if last.signature == self.suspected else ALIKE_AND_BILLED if billed else ALIKE
        else:
            enough = ALIKE_ALONE
        return self.alike >= enough or (over and self._all_may_be)


def _weight(asked: EmbeddingInput) -> int:
    return weigh(asked.tokens, asked.text) if _has_bytes(asked.text) else max(asked.tokens, len(asked.text))


def _has_bytes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parts(inputs: Sequence[EmbeddingInput], problem: Problem) -> list[Sequence[EmbeddingInput]]:
    """The request in two: the text that the message names apart from the others, else in halves."""
    culprit = problem.culprit
    if culprit is not None and culprit < len(inputs):
        return [[*inputs[:culprit], *inputs[culprit + 1 :]], [inputs[culprit]]]
    middle = len(inputs) // 2
    return [inputs[:middle], inputs[middle:]]


def _rejection(rejected: Sequence[EmbeddingInput], problem: Problem) -> Answer:
    reasons = {
        i.content_hash: f"the API refuses the text beginning '{' '.join(i.text[:80].split())}' ({problem.message})"
        for i in rejected
    }
    return Answer([], np.zeros((0, 0), np.float32), 0, "", reasons)


def _backoff(attempt: int, named: float | None) -> float:
    """Seconds to wait: what the answer names and a little more, else doubling with full jitter."""
    if named is not None:
        return named + random.uniform(0.01, 0.1)
    longest: float = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 10))
    return random.uniform(0.5, 1.0) * longest


def joined(parts: Sequence[Answer]) -> Answer:
    """Several answers as one; those without vectors give only what they reject."""
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


def _root(error: BaseException) -> BaseException:
    """What an error comes down to: refused, an unknown host, a certificate."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


@contextmanager
def explained_configuration() -> Iterator[None]:
    """Turns what the SDK says of a base URL into an error of ours. Raises ConfigurationError."""
    try:
        yield
    except httpx2.InvalidURL as error:
        raise ConfigurationError(f"OPENAI_BASE_URL is no URL that can be asked ({error})") from None
