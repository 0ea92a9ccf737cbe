"""The client: it sends texts in paced requests, retries for a limited time, and splits a request to find a bad text.

The provider knows what the answers of its API mean (`providers/`), and the endpoint sends and receives. The client
stores nothing; it yields each answer to the caller at once.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Self

import httpx2
import numpy as np
import orjson

from vector_pipeline.embedding.endpoint import Endpoint, Moved, Reply, most_bytes
from vector_pipeline.embedding.evidence import Failures, control_for, suspected
from vector_pipeline.embedding.pacing.clock import Clock
from vector_pipeline.embedding.pacing.pacer import Pacer, RateHeaders, Ticket
from vector_pipeline.embedding.providers.base import (
    BrokenAnswer,
    Decoded,
    HiddenError,
    Kind,
    Problem,
    Purpose,
    Question,
    WrongDimensions,
)
from vector_pipeline.embedding.requests import weigh
from vector_pipeline.embedding.values import Answer, ClientConfig, EmbeddingInput, Progress, Usage
from vector_pipeline.errors import ProviderRefused, ProviderUnavailable, QuotaExhausted, one_line

FIRST_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0

# A request whose answers are unusable but billed is sent at most this often.
MAX_BILLED_ATTEMPTS = 5

# If the server answers this, it is not down: it fails because of a text.
WORD = EmbeddingInput("word", 1, b"")

# Errors that occur before the server has seen any part of a request.
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

# A word that was not answered is sent again after this time at the earliest.
PROBE_KEPT_SECONDS = 2.0

# An answer of more bytes is decoded on another thread, because it takes ten milliseconds or more.
LARGE_ANSWER = 1 << 20

__all__ = ["Answer", "ClientConfig", "EmbeddingClient", "EmbeddingInput", "Progress", "Usage", "joined"]


class EmbeddingClient:
    """A client for one run, which reuses its connections. Use it as an async context manager.

    All its requests have one purpose: documents or queries.

    `usage` grows with each answer. If the caller passed it, the caller knows what was paid even after an error.
    """

    def __init__(
        self,
        config: ClientConfig,
        pacer: Pacer,
        *,
        purpose: Purpose = Purpose.DOCUMENT,
        usage: Usage | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.pacer = pacer
        self.purpose = purpose
        self.usage = Usage() if usage is None else usage
        self.clock = clock or Clock()
        self.in_flight = 0
        self._answered_at = self._probed_at = -math.inf
        self._control = _Control()
        self._probing = asyncio.Lock()
        self._without: frozenset[str] = frozenset()
        self._most_inputs = config.provider.limits.max_inputs
        self._endpoint: Endpoint | None = None

    async def __aenter__(self) -> Self:
        self._endpoint = Endpoint(self.config, self.config.provider.transport())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._endpoint is not None:
            await self._endpoint.close()
        await self.pacer.close()

    async def embed(self, inputs: Sequence[EmbeddingInput], *, urgent: bool = False) -> Answer:
        """The vectors of the texts of one request.

        A text that cannot be embedded is in the answer's `rejected`. Raises ProviderRefused (QuotaExhausted if the
        account has no money left) and ProviderUnavailable.
        """
        return joined([answer async for answer in self.answers(inputs, urgent=urgent)])

    async def answers(
        self, inputs: Sequence[EmbeddingInput], *, urgent: bool = False, ticket: Ticket | None = None
    ) -> AsyncIterator[Answer]:
        """Yield the vectors: one answer, or several if the request had to be split.

        `ticket` is the pacer's, if the caller already has one. Raises the errors of `embed`. Answers that were yielded
        before an error are paid and valid.
        """
        todo: list[tuple[Sequence[EmbeddingInput], str | None]] = [(inputs, None)]
        most_inputs = self._most_inputs
        while todo:
            part, signature = todo.pop()
            if len(part) > self._most_inputs:
                todo.extend(((part[self._most_inputs :], signature), (part[: self._most_inputs], signature)))
                continue
            answer = await self._persist(part, urgent, ticket, signature)
            ticket = None
            if isinstance(answer, Answer):
                yield answer
                if len(answer.inputs) < len(part):
                    # The vectors of the other texts were useless.
                    answered = {i.content_hash for i in answer.inputs}
                    todo.append(([i for i in part if i.content_hash not in answered], None))
            elif answer.kind is Kind.USELESS:
                yield self._rejection(part, answer)
            elif len(part) == 1:
                await self._require_that_it_is_the_text(part[0], answer, urgent)
                if answer.whole:
                    # The text was too large, and not the number of texts.
                    self._most_inputs = max(self._most_inputs, most_inputs)
                yield self._rejection(part, answer)
            else:
                if answer.whole:
                    # Later requests then need not be split for the same reason.
                    self._most_inputs = min(self._most_inputs, max(1, len(part) // 2))
                todo.extend((smaller, answer.repeated) for smaller in reversed(_parts(part, answer)))

    async def reserve(self, inputs: Sequence[EmbeddingInput], *, urgent: bool = False) -> Ticket:
        """Wait until the pacer allows these texts in one request."""
        ticket = await self.pacer.reserve(sum(map(_weight, inputs)), urgent=urgent)
        self.usage.seconds_waited += ticket.waited_seconds
        return ticket

    async def _require_that_it_is_the_text(self, refused: EmbeddingInput, problem: Problem, urgent: bool) -> None:
        """Raise ProviderRefused if a text was refused for a reason that is not its own."""
        if problem.account:
            raise ProviderRefused(
                f"{self.config.where} will never take a text of {refused.tokens:,} tokens ({problem.message}); raise "
                "the account's limit, or lower VECTOR_PIPELINE_CHUNK_TOKENS"
            )
        # The server has not accepted any text yet, so the reason may be anything. One word is sent to find out before
        # all texts are rejected.
        if not problem.of_text and not problem.repeated and self._answered_at == -math.inf:
            word = await self._persist([WORD], urgent, None)
            self._forget_word(word)
            if not isinstance(word, Answer):
                raise ProviderRefused(
                    f"{self.config.where} refuses every text ({problem.message}); {self._advice(problem)}"
                )

    async def _persist(
        self, inputs: Sequence[EmbeddingInput], urgent: bool, ticket: Ticket | None, signature: str | None = None
    ) -> Answer | Problem:
        """Send one request, and again while that may help; returns the answer, or the reason to split the request.

        `signature` is that of the failure with which a larger request with these texts ended.
        """
        deadline = self.clock.now() + self.config.retry_seconds
        seen: Counter[Kind] = Counter()
        failures = Failures(signature)
        while True:
            ticket = ticket or await self.reserve(inputs, urgent=urgent)
            outcome, ticket = await self._request(inputs, ticket), None
            if isinstance(outcome, Answer) or outcome.kind is Kind.SPLIT:
                return outcome
            seen[outcome.kind] += 1
            failures.add(outcome, self.clock.now())
            pause = _backoff(seen.total(), outcome.wait_seconds)
            over = self.clock.now() + pause > deadline
            if await self._is_of_a_text(outcome, failures, inputs, over, urgent):
                return suspected(outcome)
            await self._raise_if_hopeless(outcome, seen, failures, urgent)
            self.usage.retries += 1
            if outcome.kind is Kind.WITHOUT:
                continue
            # While controls are answered, the number of contrasts decides soon.
            if over and not failures.contrasts:
                raise self._unavailable(outcome)
            await self._wait(outcome, failures, inputs, pause, urgent)

    def _unavailable(self, problem: Problem) -> ProviderUnavailable:
        asked = f", which asks to wait {problem.wait_seconds:,.0f} s" if problem.wait_seconds else ""
        return ProviderUnavailable(
            f"{self.config.where} did not answer within {self.config.retry_seconds:,.0f} s ({problem.message}"
            f"{asked}); what it answered before is stored, and the next run continues from there"
        )

    async def _wait(
        self, problem: Problem, failures: Failures, inputs: Sequence[EmbeddingInput], pause: float, urgent: bool
    ) -> None:
        """Wait before the next attempt. If a text may be the reason, a control is sent in the middle of two waits."""
        if problem.kind is Kind.RATE_LIMITED:
            self.usage.rate_limited += 1
            # Without a stated wait the limit may be one of concurrent requests, so only this request waits. It also
            # waits alone if a text is suspected.
            if problem.wait_seconds is not None and not failures.is_suspected:
                await self.pacer.pause(pause)
        await self.clock.wait(pause)
        if problem.asks_to_wait and failures.is_worth_a_control and not urgent:
            failures.add_control(await self._answers_control(inputs, failures.last_at))
            # The control may have used what the account had left, so the request gets a wait of its own.
            await self.clock.wait(pause)

    async def _answers_control(self, inputs: Sequence[EmbeddingInput], since: float) -> bool:
        """Whether the server answers a request without these texts that was sent after the time `since`."""
        control = control_for(inputs)
        async with self._probing:
            last = self._control
            if last.sent_at > since and (last.tokens >= control.tokens or not last.answered):
                # Requests that fail at the same time share a control.
                return last.answered
            ticket = await self.reserve([control])
            sent_at = self.clock.now()
            outcome = await self._request([control], ticket)
            self._forget_word(outcome)
            self._control = _Control(sent_at, control.tokens, isinstance(outcome, Answer))
            return self._control.answered

    async def _is_of_a_text(
        self, problem: Problem, failures: Failures, inputs: Sequence[EmbeddingInput], over: bool, urgent: bool
    ) -> bool:
        """Whether one of the texts is the reason for the failures."""
        if problem.asks_to_wait:
            return failures.contrasts_point_at_a_text(len(inputs))
        if not failures.point_at_a_text(len(inputs), over):
            return False
        if len(inputs) > 1 and failures.is_suspected:
            # The larger request had this evidence, and a text that is rejected in the end needs its own.
            return True
        # To reject a text takes newer evidence than to split a request.
        since = failures.last_at if len(inputs) == 1 else failures.since
        # A useless answer was billed. Any good vector, however old, shows that the model works.
        return await self._answers_others(-math.inf if failures.useless else since, urgent)

    async def _answers_others(self, since: float, urgent: bool) -> bool:
        """Whether the server has answered a request after the time `since`. If there was none, one word is sent."""
        async with self._probing:
            if self._answered_at > since:
                return True
            if self.clock.now() < self._probed_at + PROBE_KEPT_SECONDS:
                return False
            word = await self._request([WORD], await self.reserve([WORD], urgent=urgent))
            self._forget_word(word)
            if not isinstance(word, Answer):
                self._probed_at = self.clock.now()
            return isinstance(word, Answer)

    def _forget_word(self, word: Answer | Problem) -> None:
        """Do not count the word as an embedded text. Its tokens count, because they are billed."""
        if isinstance(word, Answer):
            self.usage.inputs -= len(word.inputs)

    async def _raise_if_hopeless(self, outcome: Problem, seen: Counter[Kind], failures: Failures, urgent: bool) -> None:
        if outcome.kind is Kind.QUOTA:
            raise QuotaExhausted(f"the account has no quota left ({outcome.message}); see its billing page")
        # Each option is left out once. If the server still refuses it, it means something else.
        again = outcome.kind is Kind.WITHOUT and outcome.option in self._without
        refused = outcome.kind is Kind.REFUSED and not (
            outcome.may_be_of_text and await self._answers_others(failures.since, urgent)
        )
        if refused or again:
            raise ProviderRefused(f"{self.config.where} refuses ({outcome.message}); {self._advice(outcome)}")
        self._without |= {outcome.option} if outcome.kind is Kind.WITHOUT else set()
        if seen[Kind.BROKEN] + seen[Kind.USELESS] >= MAX_BILLED_ATTEMPTS:
            raise ProviderUnavailable(
                f"{self.config.where} answered {MAX_BILLED_ATTEMPTS} times with what is no answer "
                f"({outcome.message}), and may bill each; is VECTOR_PIPELINE_MODEL an embedding model, and "
                f"{self.config.base_url_variable} right?"
            )

    async def _request(self, inputs: Sequence[EmbeddingInput], ticket: Ticket) -> Answer | Problem:
        """Send one request now."""
        config = self.config
        fields = config.roles.of(self.purpose).fields
        texts = [i.text for i in inputs]
        question = Question(config.model, texts, self.purpose, config.dimensions, self._without, fields)
        headers: RateHeaders | None = None
        self.usage.requests += 1
        self.in_flight += 1
        try:
            # A timeout for each read would not be enough: an answer that comes byte by byte would never end.
            async with asyncio.timeout(config.timeout_seconds):
                reply = await self._send(question)
            headers = self._rate(reply)
            if not 200 <= reply.status < 300:
                return self._classify(reply.status, reply.headers, _body(reply.content))
            # To decode a large answer takes so long that it would delay other requests.
            large = len(reply.content) > LARGE_ANSWER
            decode, content = config.provider.decode, reply.content
            found = await asyncio.to_thread(decode, content, question) if large else decode(content, question)
        except HiddenError as error:
            return self._classify(error.status, reply.headers, error.body)
        except (UnicodeEncodeError, Moved, TimeoutError, httpx2.HTTPError, BrokenAnswer, WrongDimensions) as error:
            return self._problem(error, inputs)
        finally:
            self.in_flight -= 1
            await self.pacer.settle(ticket, headers)
        self._without |= found.ignored
        return self._answer(inputs, found)

    async def _send(self, question: Question) -> Reply:
        assert self._endpoint is not None, "use the client as an async context manager"
        body = self.config.provider.body(question)
        return await self._endpoint.post(body, most_bytes(len(question.texts), question.dimensions))

    def _rate(self, reply: Reply) -> RateHeaders | None:
        """What an answer says about the limits; None for an error that says nothing about them."""
        message = reply.content.decode(errors="replace") if reply.status == 429 else ""
        headers = self.config.provider.rate(reply.headers, message)
        return headers if headers.stated or 200 <= reply.status < 300 else None

    def _classify(self, status: int, headers: httpx2.Headers, body: object) -> Problem:
        return self.config.provider.classify(status, headers, body, self.config.cleaned)

    def _problem(self, error: Exception, inputs: Sequence[EmbeddingInput]) -> Problem:
        """The problem that an exception means (an answer with an error status goes to `_classify`)."""
        if isinstance(error, UnicodeEncodeError):
            # Nothing was sent, because a lone surrogate has no bytes in UTF-8.
            culprit = next(n for n, i in enumerate(inputs) if not _has_bytes(i.text))
            return Problem(Kind.SPLIT, "it holds a lone surrogate, half a character", culprit=culprit, of_text=True)
        if isinstance(error, BrokenAnswer):
            return Problem(Kind.BROKEN, str(error))
        if isinstance(error, Moved):
            # A firewall may send one text to a page of its own.
            return Problem(Kind.REFUSED, self.config.cleaned(str(error)), repeatable=True)
        if isinstance(error, WrongDimensions):
            # If the model has answered others correctly, the fault lies with these texts.
            answered = self._answered_at > -math.inf
            return Problem(Kind.USELESS if answered else Kind.REFUSED, str(error))
        unseen = isinstance(error, NEVER_SENT)
        if isinstance(error, TimeoutError | httpx2.TimeoutException):
            return Problem(Kind.RETRY, f"no answer within {self.config.timeout_seconds:,.0f} s", unseen=unseen)
        cause = _root(error)
        reason = self.config.cleaned(f"{type(cause).__name__}: {one_line(cause)}")
        return Problem(Kind.RETRY, f"connection lost ({reason.removesuffix(': ')})", unseen=unseen)

    def _rejection(self, rejected: Sequence[EmbeddingInput], problem: Problem) -> Answer:
        prefix = self.config.roles.of(self.purpose).prefix
        reasons = {
            i.content_hash: f"the API refuses the text beginning '{_beginning(i.text, prefix)}' ({problem.message})"
            for i in rejected
        }
        return Answer([], np.zeros((0, 0), np.float32), 0, "", reasons)

    def _advice(self, problem: Problem) -> str:
        config = self.config
        role = config.roles.of(self.purpose)
        if any(name in problem.message for name in role.fields):
            return (
                f"{role.parameter} is what {config.model} takes at its maker's: set VECTOR_PIPELINE_QUERY_PREFIX and "
                "VECTOR_PIPELINE_DOCUMENT_PREFIX to nothing, or to prefixes of the texts"
            )
        return {
            "307": f"set {config.base_url_variable} to that place",
            "308": f"set {config.base_url_variable} to that place",
            "301": f"set {config.base_url_variable} to that place",
            "302": f"set {config.base_url_variable} to that place",
            "303": f"set {config.base_url_variable} to that place",
            "401": f"check {config.provider.key_variable}",
            "403": "this key has no right to the model or from here",
            "404": f"check VECTOR_PIPELINE_MODEL and {config.base_url_variable}",
        }.get(problem.message[:3], "check VECTOR_PIPELINE_MODEL and VECTOR_PIPELINE_DIMENSIONS")

    def _answer(self, inputs: Sequence[EmbeddingInput], found: Decoded) -> Answer | Problem:
        """The good vectors with the whole cost of the request; a Problem if no vector is good."""
        tokens = found.tokens or sum(i.tokens for i in inputs)
        self.usage.tokens += tokens
        useless = set(found.useless)
        good = [n for n in range(len(inputs)) if n not in useless]
        if not good:
            return Problem(Kind.USELESS, "a vector that is zero, or holds NaN or too large a number")
        self.usage.inputs += len(good)
        self._answered_at = self.clock.now()
        if not useless:
            return Answer(inputs, found.vectors, tokens, found.model)
        return Answer([inputs[n] for n in good], found.vectors[good], tokens, found.model)


@dataclass(frozen=True, slots=True)
class _Control:
    """The last control: when it was sent, how long it was, and whether it was answered."""

    sent_at: float = -math.inf
    tokens: int = 0
    answered: bool = False


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
    """Split a request in two: the text that the message names and the others, or else two halves."""
    culprit = problem.culprit
    if culprit is not None and culprit < len(inputs):
        return [[*inputs[:culprit], *inputs[culprit + 1 :]], [inputs[culprit]]]
    middle = len(inputs) // 2
    return [inputs[:middle], inputs[middle:]]


def _beginning(text: str, prefix: str) -> str:
    """The beginning of a text on one line, without the prefix of its role."""
    return " ".join(text.removeprefix(prefix)[:80].split())


def _backoff(attempt: int, named: float | None) -> float:
    """Seconds to wait: what the answer names and a little more, else a doubling time with random jitter."""
    if named is not None:
        return named + random.uniform(0.01, 0.1)
    longest: float = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 10))
    return random.uniform(0.5, 1.0) * longest


def joined(parts: Sequence[Answer]) -> Answer:
    """Join several answers into one. Answers without vectors only add their rejected texts."""
    full = [part for part in parts if part.inputs]
    rejected = {key: reason for part in parts for key, reason in part.rejected.items()}
    if not full:
        return Answer([], np.zeros((0, 0), np.float32), 0, "", rejected)
    inputs = [i for part in full for i in part.inputs]
    vectors = np.concatenate([part.vectors for part in full])
    return Answer(inputs, vectors, sum(part.tokens for part in full), full[0].model, rejected)


def _root(error: BaseException) -> BaseException:
    """The innermost cause of an error, such as a refused connection, an unknown host or a certificate."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def _body(content: bytes) -> object:
    """The body of an error: JSON values, or text if it is not JSON."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return content.decode(errors="replace")
