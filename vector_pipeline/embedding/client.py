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
from dataclasses import dataclass, replace
from typing import Self

import httpx2
import numpy as np
import orjson

from vector_pipeline.embedding.endpoint import Endpoint, Moved, Reply, most_bytes
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

# After this many failures of the same kind a request is split, if the server answers other requests. If each failure is
# billed, it is split after fewer. A single text cannot be split and is rejected; that takes more failures.
ALIKE = 3
ALIKE_AND_BILLED = 2
ALIKE_ALONE = 5

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
                    # The vectors of the other texts were useless.
                    answered = {i.content_hash for i in answer.inputs}
                    todo.append(([i for i in part if i.content_hash not in answered], None))
            elif answer.kind is Kind.USELESS:
                yield self._rejection(part, answer)
            elif len(part) == 1:
                await self._require_that_it_is_the_text(part[0], answer, urgent)
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
        self, inputs: Sequence[EmbeddingInput], urgent: bool, ticket: Ticket | None, suspected: str | None = None
    ) -> Answer | Problem:
        """Send one request, and again while that may help; returns the answer, or the reason to split the request.

        `suspected` is the signature of the failure with which a larger request with these texts ended.
        """
        deadline = self.clock.now() + self.config.retry_seconds
        seen: Counter[Kind] = Counter()
        failures = _Failures(suspected)
        while True:
            ticket = ticket or await self.reserve(inputs, urgent=urgent)
            outcome, ticket = await self._request(inputs, ticket), None
            if isinstance(outcome, Answer) or outcome.kind is Kind.SPLIT:
                return outcome
            seen[outcome.kind] += 1
            failures.add(outcome, self.clock.now())
            pause = _backoff(seen.total(), outcome.wait_seconds)
            over = self.clock.now() + pause > deadline
            if failures.point_at_a_text(len(inputs), over) and await self._answers_others(failures, inputs, urgent):
                return _suspected(outcome)
            self._raise_if_hopeless(outcome, seen)
            self.usage.retries += 1
            if outcome.kind is Kind.WITHOUT:
                continue
            if over:
                asked = f", which asks to wait {outcome.wait_seconds:,.0f} s" if outcome.wait_seconds else ""
                raise ProviderUnavailable(
                    f"{self.config.where} did not answer within {self.config.retry_seconds:,.0f} s ({outcome.message}"
                    f"{asked}); what it answered before is stored, and the next run continues from there"
                )
            if outcome.kind is Kind.RATE_LIMITED:
                self.usage.rate_limited += 1
                # Without a stated wait the limit may be one of concurrent requests, so only this request waits.
                if outcome.wait_seconds is not None:
                    await self.pacer.pause(pause)
            await self.clock.wait(pause)

    async def _answers_others(self, failures: _Failures, inputs: Sequence[EmbeddingInput], urgent: bool) -> bool:
        """Whether the server answers other requests while this one fails. If there were none, one word is sent."""
        if len(inputs) > 1 and failures.is_suspected:
            # The larger request had this evidence, and a text that is rejected in the end needs its own.
            return True
        # To reject a text takes newer evidence than to split a request.
        since = failures.last_at if len(inputs) == 1 else failures.since
        if failures.useless:
            # This request was answered and billed. Any good vector, however old, shows that the model works.
            since = -math.inf
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

    def _raise_if_hopeless(self, outcome: Problem, seen: Counter[Kind]) -> None:
        if outcome.kind is Kind.QUOTA:
            raise QuotaExhausted(f"the account has no quota left ({outcome.message}); see its billing page")
        # Each option is left out once. If the server still refuses it, it means something else.
        again = outcome.kind is Kind.WITHOUT and outcome.option in self._without
        if outcome.kind is Kind.REFUSED or again:
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
            return Problem(Kind.REFUSED, self.config.cleaned(str(error)))
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


@dataclass(slots=True)
class _Failures:
    """The failures of one request so far. They show whether one of its texts may be the reason."""

    suspected: str | None
    alike: int = 0
    """The number of failures of the last kind."""
    since: float = 0.0
    """The time of the first failure of that kind."""
    last_at: float = 0.0
    _last: Problem | None = None
    _all_may_be: bool = True

    def add(self, problem: Problem, now: float) -> None:
        """Count a failure."""
        if problem.kind is Kind.RATE_LIMITED:
            return
        self._all_may_be = self._all_may_be and problem.may_be_of_text
        if self._last is None or self._last.signature != problem.signature:
            self.alike, self.since = 0, now
        self.alike += 1
        self._last, self.last_at = problem, now

    @property
    def is_suspected(self) -> bool:
        """Whether the larger request ended in the same way."""
        return self._last is not None and self._last.signature == self.suspected

    @property
    def useless(self) -> bool:
        """Whether the last answer had vectors, but no good one."""
        return self._last is not None and self._last.kind is Kind.USELESS

    def point_at_a_text(self, inputs: int, over: bool) -> bool:
        """Whether one of the texts is now the likely reason. `over` means that there is no time for another attempt."""
        last = self._last
        if last is None or not last.may_be_of_text:
            return False
        if last.kind is Kind.REFUSED:
            return True
        billed = last.kind in (Kind.BROKEN, Kind.USELESS)
        if inputs > 1 or self.useless:
            enough = 1 if self.is_suspected else ALIKE_AND_BILLED if billed else ALIKE
        else:
            enough = ALIKE_ALONE
        return self.alike >= enough or (over and self._all_may_be)


def _suspected(problem: Problem) -> Problem:
    """What to do about a request that fails while the server answers others: one of its texts is the reason."""
    again = "" if problem.kind is Kind.REFUSED else ", again and again"
    return replace(
        problem,
        kind=Kind.USELESS if problem.kind is Kind.USELESS else Kind.SPLIT,
        message=f"{problem.message}{again}, while others are answered",
        repeated=problem.signature,
    )


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
