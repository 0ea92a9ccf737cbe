"""Harvest the answers of the Batch API. An answer takes up to a day.

The ledger (`BatchLedger`, in Postgres: `store.shared.batches`) has every batch before the API does. So a restart at any
moment continues where it stopped, and nothing is paid twice. Texts that a batch did not answer are missing again
afterwards and are planned for the next batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from openai.types import Batch

from vector_pipeline.embedding.batch.api import (
    METADATA_KEY,
    OVER,
    NotKnown,
    explained,
    problem_of,
    queue_is_full,
    stated_limit,
)
from vector_pipeline.embedding.batch.ledger import MAX_HOURS_OUT, BatchLedger, OpenBatch
from vector_pipeline.embedding.batch.submit import MIN_PART_TOKENS, create
from vector_pipeline.embedding.providers.base import BrokenAnswer, HiddenError, Kind, Question, WrongDimensions
from vector_pipeline.embedding.providers.common import parsed
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.embedding.values import Answer, ClientConfig, EmbeddingInput
from vector_pipeline.errors import ProviderRefused

# A line that failed in one of these ways is submitted once more. Any other failure would happen again.
_PASSING = (Kind.RETRY, Kind.RATE_LIMITED, Kind.QUOTA)

Deliver = Callable[[str, Answer], None]


@dataclass(slots=True)
class Harvest:
    """The result of a harvest: what was answered, and what is still unfinished."""

    finished: int = 0
    inputs: int = 0
    tokens: int = 0
    out: int = 0
    out_inputs: int = 0
    problems: list[str] = field(default_factory=list)
    """One line for each batch with a problem."""

    def add(self, more: Harvest) -> None:
        """Add the counts of another harvest."""
        self.finished += more.finished
        self.inputs += more.inputs
        self.tokens += more.tokens
        self.out += more.out
        self.out_inputs += more.out_inputs
        self.problems += more.problems


def harvest(
    api: openai.OpenAI,
    config: ClientConfig,
    ledger: BatchLedger,
    deliver: Deliver,
    *,
    space: str | None = None,
) -> Harvest:
    """Fetch the answers of finished batches. `deliver(space, answer)` stores one; after a crash it may get one again.

    With `space` only its batches are checked, otherwise all batches of the pipeline. The inputs of an answer have no
    text. Raises ProviderRefused, ProviderUnavailable, and any error of `deliver`.
    """
    result = Harvest()
    for batch in ledger.unfinished():
        if space is not None and batch.space != space:
            continue
        with ledger.hold(batch.key) as mine:
            if not mine or not _Harvester(api, config, ledger, deliver, result).bring_in(batch):
                result.out += 1
                result.out_inputs += batch.inputs
    return result


def ready(api: openai.OpenAI, config: ClientConfig, ledger: BatchLedger, space: str) -> list[str]:
    """Keys of a space's batches that a harvest can advance: those that are answered, or not yet submitted.

    It sends one small request for each batch and fetches no results, so it can run every few minutes. Raises the errors
    of `harvest`.
    """
    found = []
    for batch in ledger.unfinished():
        if batch.space != space:
            continue
        with ledger.hold(batch.key) as mine:
            if not mine:
                continue
            if batch.batch_id is None or _is_over(api, config, batch, batch.batch_id):
                found.append(batch.key)
    return found


def _is_over(api: openai.OpenAI, config: ClientConfig, batch: OpenBatch, batch_id: str) -> bool:
    try:
        with explained(config):
            return api.batches.retrieve(batch_id).status in OVER
    except NotKnown:
        return batch.hours_out > MAX_HOURS_OUT


@dataclass(slots=True)
class _Lines:
    """The results of the lines of one batch, by line number."""

    inputs: Mapping[int, list[EmbeddingInput]]
    seen: set[int] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Harvester:
    api: openai.OpenAI
    config: ClientConfig
    ledger: BatchLedger
    deliver: Deliver
    result: Harvest

    def bring_in(self, batch: OpenBatch) -> bool:
        """Harvest one batch, or submit it if it was not yet submitted; returns whether it is finished."""
        batch_id, over = batch.batch_id, False
        if batch_id is None:
            batch_id, over = self._adopt(batch)
        if batch_id is None:
            return over
        try:
            with explained(self.config):
                state = self.api.batches.retrieve(batch_id)
        except NotKnown as error:
            return self._set_aside(batch, batch_id, str(error))
        if state.status not in OVER:
            if state.status != "validating":
                self.ledger.was_taken(self.config.bucket, batch.tokens)
            return False
        problem = problem_of(state, self.config)
        if state.status == "failed" and problem is not None and queue_is_full(problem):
            self._had_no_room(batch, problem)
        else:
            self._finish(batch, state, problem)
        for file_id in (batch.file_id, state.output_file_id, state.error_file_id):
            if file_id is not None:
                with suppress(openai.OpenAIError):
                    self.api.files.delete(file_id)
        return True

    def _finish(self, batch: OpenBatch, state: Batch, problem: str | None) -> None:
        lines = _Lines(self.ledger.lines(batch.key))
        for file_id in (state.output_file_id, state.error_file_id):
            try:
                for line in self._lines(file_id):
                    self._take(batch.space, lines, line)
            except NotKnown:
                self.result.problems.append(f"batch {state.id}: its results are gone; what they held is submitted again")
        if state.status == "completed":
            # These lines were neither answered nor refused, or in a form that cannot be read.
            lines.failed += sorted(lines.inputs.keys() - lines.seen)
        self.ledger.refused(batch.key, lines.refused)
        self.ledger.failed(batch.key, lines.failed)
        self.ledger.finished(batch.key, state.status, problem)
        self.ledger.was_taken(self.config.bucket, batch.tokens)
        self.result.finished += 1
        if state.status != "completed" or problem is not None:
            self.result.problems.append(f"batch {state.id} {state.status}: {problem or 'the rest is submitted again'}")

    def _had_no_room(self, batch: OpenBatch, problem: str) -> None:
        """End a batch that the queue had no room for. Its texts are submitted again in smaller parts."""
        limit = stated_limit(problem)
        self.ledger.learn_queue(self.config.bucket, limit, max(MIN_PART_TOKENS, batch.tokens // 2))
        self.ledger.finished(batch.key, "failed", problem)
        self.result.finished += 1
        queue = "the account's queue" if limit is None else f"the account's queue of {limit:,} tokens"
        self.result.problems.append(
            f"a batch of {batch.tokens:,} tokens failed: {queue} had no room for it; its {batch.inputs:,} texts are "
            "submitted again in smaller parts"
        )

    def _set_aside(self, batch: OpenBatch, batch_id: str, reason: str) -> bool:
        """Give up a batch that the API does not know; returns whether it did.

        It does not while the batch may still be running: with the key of another account every batch is unknown, and the
        texts would be paid for again.
        """
        if batch.hours_out <= MAX_HOURS_OUT:
            self.result.problems.append(
                f"batch {batch_id}: {reason}; is this the key of another account? Its {batch.inputs:,} texts are "
                f"submitted again in {MAX_HOURS_OUT - batch.hours_out:.0f} hours"
            )
            return False
        self.ledger.finished(batch.key, "unknown", reason)
        self.result.finished += 1
        self.result.problems.append(f"batch {batch_id}: {reason}; its {batch.inputs:,} texts are submitted again")
        return True

    def _adopt(self, batch: OpenBatch) -> tuple[str | None, bool]:
        """The id of a batch whose id was not stored, and whether the batch is over without one.

        If the API has no such batch, it is submitted.
        """
        if batch.file_id is None:
            # It was never uploaded, so nothing was paid. Its texts are planned again.
            self.ledger.finished(batch.key, "cancelled", "it was never uploaded")
            return None, True
        with explained(self.config):
            for known in self.api.batches.list(limit=100):
                if (known.metadata or {}).get(METADATA_KEY) == batch.key and known.status != "failed":
                    self.ledger.submitted(batch.key, known.id)
                    return known.id, False
        try:
            refused = create(self.api, self.config, self.ledger, batch.key, batch.file_id)
        except NotKnown as error:
            # Its file was deleted before the batch was created, so nothing was paid.
            self.ledger.finished(batch.key, "cancelled", str(error))
            self.result.problems.append(f"the file {batch.file_id} of a batch is gone; its texts are submitted again")
            return None, True
        if refused is not None:
            self._had_no_room(batch, refused)
        return None, refused is not None

    def _lines(self, file_id: str | None) -> Iterator[dict[str, Any]]:
        """Yield the lines of a result file. It may have hundreds of megabytes and is not held in memory."""
        if file_id is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.jsonl"
            with explained(self.config), self.api.files.with_streaming_response.content(file_id) as response:
                response.stream_to_file(path)
            with path.open("rb") as file:
                for line in file:
                    # A line that cannot be read answers nothing, so its texts are missing again.
                    with suppress(BrokenAnswer):
                        yield parsed(line)

    def _take(self, space: str, lines: _Lines, line: dict[str, Any]) -> None:
        """Handle one line of a result file: deliver its vectors, or record that it failed or was refused."""
        inputs = lines.inputs.get(int(line["custom_id"])) if str(line.get("custom_id")).isdecimal() else None
        response = line.get("response")
        if inputs is None or not isinstance(response, Mapping):
            return
        number, status = int(line["custom_id"]), int(response.get("status_code") or 0)
        lines.seen.add(number)
        if status != 200:
            passes = OpenAI().classify(status, {}, response.get("body")).kind in _PASSING
            (lines.failed if passes else lines.refused).append(number)
            return
        question = Question(self.config.model, [""] * len(inputs), dimensions=self.config.dimensions)
        try:
            found = OpenAI().read(response.get("body"), question)
        except (BrokenAnswer, HiddenError):
            # It was paid for. Ordinary requests try its texts, since they give up after a few attempts.
            lines.refused.append(number)
            return
        except WrongDimensions as error:
            model = self.config.model
            raise ProviderRefused(f"model {model}: {error}; check VECTOR_PIPELINE_DIMENSIONS") from error
        if found.useless:
            lines.refused.append(number)
        tokens = found.tokens or sum(i.tokens for i in inputs)
        good = [n for n in range(len(inputs)) if n not in set(found.useless)]
        self.deliver(space, Answer([inputs[n] for n in good], found.vectors[good], tokens, found.model))
        self.result.inputs += len(good)
        self.result.tokens += tokens
