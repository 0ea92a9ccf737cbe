"""Submit texts as batches that fit into the account's queue.

The size of the queue is published for each tier. An account may have a smaller one: a refusal names it, and the ledger
keeps it for the account. The API does not show what others have queued, so batches become smaller until one is accepted.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import openai
import orjson

from vector_pipeline.embedding.batch.api import METADATA_KEY, explained, problem_of, queue_is_full, stated_limit
from vector_pipeline.embedding.batch.ledger import BatchLedger
from vector_pipeline.embedding.providers.base import Question
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.embedding.requests import RequestLimits, pack, weigh
from vector_pipeline.embedding.values import ClientConfig, EmbeddingInput
from vector_pipeline.errors import ProviderRefused, ProviderUnavailable

# Inputs of one line: an answer has a megabyte at 1,536 dimensions, and a refused line affects few texts.
MAX_INPUTS_PER_LINE = 128

# A part of fewer tokens is not worth a batch. If even this size is refused, the queue is full.
MIN_PART_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits of one batch: inputs in all its lines, and bytes of its file.

    https://platform.openai.com/docs/guides/batch, read 2026-11-23: 50,000 and 200 MB. The second has a margin, because
    the page does not say whether a MB is a million bytes.
    """

    max_inputs: int = 50_000
    max_bytes: int = 190_000_000


@dataclass(slots=True)
class Submitted:
    """What was submitted, and what was not because the account's queue is full."""

    batches: int = 0
    inputs: int = 0
    tokens: int = 0
    left: int = 0
    full: str | None = None
    """Why texts are left, as one line for people."""


def submit(
    api: openai.OpenAI,
    config: ClientConfig,
    ledger: BatchLedger,
    space: str,
    inputs: Iterable[EmbeddingInput],
    *,
    limits: RequestLimits | None = None,
    batch_limits: BatchLimits | None = None,
    queue_tokens: int | None = None,
) -> Submitted:
    """Submit texts as batches while the account's queue has room for their tokens.

    A line of a batch is one request within `limits` (default: the API's own). `queue_tokens` is the published size of
    the account's queue; a smaller size that the API has named takes precedence.
    `left` counts the texts that did not fit. A later call submits them. Raises ProviderRefused (QuotaExhausted) and
    ProviderUnavailable; batches that were submitted before are in the ledger.
    """
    run = _Submission(api, config, ledger, space, _of_line(limits), batch_limits or BatchLimits(), queue_tokens)
    return run.run(iter(inputs))


def _of_line(limits: RequestLimits | None) -> RequestLimits:
    limits = limits or RequestLimits()
    return replace(limits, max_inputs=min(limits.max_inputs, MAX_INPUTS_PER_LINE))


@dataclass(slots=True)
class _Submission:
    api: openai.OpenAI
    config: ClientConfig
    ledger: BatchLedger
    space: str
    of_line: RequestLimits
    of_batch: BatchLimits
    queue_tokens: int | None

    def run(self, texts: Iterator[EmbeddingInput]) -> Submitted:
        """Submit one part after another until no text is left or the queue is full."""
        result = Submitted()
        while result.full is None and (first := next(texts, None)) is not None:
            texts = chain([first], texts)
            room = self._room()
            if room is not None and room < first.tokens:
                result.full = self._full("what this database has submitted")
                break
            part, texts = self._part(texts, room)
            if refused := self._submit(part):
                texts = chain(part, texts)
                result.full = self._learn(refused, part)
                continue
            result.batches += 1
            result.inputs += len(part)
            result.tokens += sum(i.tokens for i in part)
            if self._is_trying():
                result.full = "one batch at a time is submitted until the account's queue takes it; the rest follows"
        result.left = sum(1 for _ in texts)
        return result

    def _learn(self, refused: str, part: Sequence[EmbeddingInput]) -> str | None:
        """Make the next part smaller. If it was the smallest, return why nothing can be submitted."""
        tokens = sum(i.tokens for i in part)
        smaller = max(MIN_PART_TOKENS, tokens // 2)
        self.ledger.learn_queue(self.config.bucket, stated_limit(refused), smaller)
        smallest = tokens <= MIN_PART_TOKENS or len(part) == 1
        return self._full("batches of others") if smallest else None

    def _is_trying(self) -> bool:
        """Whether parts are smaller than the queue because a larger one was refused last."""
        part, limit = self.ledger.queue(self.config.bucket).part, self._limit()
        return part is not None and (limit is None or part < limit)

    def _limit(self) -> int | None:
        """The tokens that the account may have queued: the smaller of what the API named and what its tier allows."""
        stated = self.ledger.queue(self.config.bucket).limit
        known = [limit for limit in (stated, self.queue_tokens) if limit is not None]
        return min(known, default=None)

    def _room(self) -> int | None:
        """The tokens that the next part may have; None without a limit."""
        limit = self._limit()
        part = self.ledger.queue(self.config.bucket).part
        left = None if limit is None else limit - self.ledger.queued_tokens(self.config.bucket)
        return min((most for most in (left, part) if most is not None), default=None)

    def _full(self, of: str) -> str:
        limit = self._limit()
        queue = "queue" if limit is None else f"queue of {limit:,} tokens"
        return f"the account's {queue} is full with {of}; what is left is submitted once there is room"

    def _part(
        self, texts: Iterator[EmbeddingInput], room: int | None
    ) -> tuple[list[EmbeddingInput], Iterator[EmbeddingInput]]:
        """The texts of one batch within all limits, and the remaining texts."""
        part: list[EmbeddingInput] = []
        size = tokens = 0
        for item in texts:
            weight = len(orjson.dumps(item.text)) + 400
            over = size + weight > self.of_batch.max_bytes or (room is not None and tokens + item.tokens > room)
            if part and (len(part) >= self.of_batch.max_inputs or over):
                return part, chain([item], texts)
            part.append(item)
            size, tokens = size + weight, tokens + item.tokens
        return part, texts

    def _submit(self, part: list[EmbeddingInput]) -> str | None:
        """Submit one batch; returns the API's message if its queue has no room for it."""
        lines = list(pack(part, self.of_line, lambda i: weigh(i.tokens, i.text)))
        key = str(uuid.uuid4())
        # Locked until the API has it. Otherwise a harvest would take it for one whose upload was interrupted.
        with self.ledger.hold(key):
            self.ledger.plan(key, self.space, self.config.bucket, lines)
            file_id = self._upload(key, lines)
            return create(self.api, self.config, self.ledger, key, file_id)

    def _upload(self, key: str, lines: Sequence[Sequence[EmbeddingInput]]) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "requests.jsonl"
            with path.open("wb") as file:
                for number, line in enumerate(lines):
                    file.write(orjson.dumps(_request(self.config, number, line)) + b"\n")
            with explained(self.config):
                uploaded = self.api.files.create(file=path, purpose="batch")
        self.ledger.uploaded(key, uploaded.id)
        return uploaded.id


def _request(config: ClientConfig, number: int, line: Sequence[EmbeddingInput]) -> dict[str, Any]:
    fields = config.roles.document.fields
    question = Question(config.model, [i.text for i in line], dimensions=config.dimensions, fields=fields)
    return {"custom_id": str(number), "method": "POST", "url": "/v1/embeddings", "body": OpenAI().fields(question)}


def create(api: openai.OpenAI, config: ClientConfig, ledger: BatchLedger, key: str, file_id: str) -> str | None:
    """Create a batch from an uploaded file; returns the API's message if its queue has no room for it.

    Such a batch is over, and the caller submits its texts again in smaller parts. Raises the errors of `submit`.
    """
    refused = None
    try:
        with explained(config):
            batch = api.with_options(max_retries=0).batches.create(
                input_file_id=file_id,
                endpoint="/v1/embeddings",
                completion_window="24h",
                metadata={METADATA_KEY: key},
            )
    except (ProviderRefused, ProviderUnavailable) as error:
        refused = str(error)
        if not queue_is_full(refused):
            raise
    else:
        problem = problem_of(batch, config) or ""
        if batch.status != "failed" or not queue_is_full(problem):
            ledger.submitted(key, batch.id)
            return None
        refused = problem
    ledger.finished(key, "failed", refused)
    with suppress(openai.OpenAIError):
        api.files.delete(file_id)
    return refused
