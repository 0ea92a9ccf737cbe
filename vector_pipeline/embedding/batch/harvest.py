"""What the Batch API has answered, brought in; an answer takes up to a day.

The ledger (`BatchLedger`, in Postgres: `store.shared.batches`) knows every batch before the API does, so that a restart
at any moment goes on where it was and nothing is paid twice. What a batch did not answer is simply missing again
afterwards, and planned for the next one.
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
from vector_pipeline.embedding.batch.ledger import BatchLedger, OpenBatch
from vector_pipeline.embedding.batch.submit import MIN_PART_TOKENS, create
from vector_pipeline.embedding.providers.base import BrokenAnswer, HiddenError, Kind, Question, WrongDimensions
from vector_pipeline.embedding.providers.common import parsed
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.embedding.values import Answer, ClientConfig, EmbeddingInput
from vector_pipeline.errors import ProviderRefused

# The completion window of 24 hours and some: a batch that the API does not know any more is not running either.
MAX_HOURS_OUT = 26.0

# Of a line that failed: it goes with the next batch, once. Whatever else was wrong with it, it would be again.
_PASSING = (Kind.RETRY, Kind.RATE_LIMITED, Kind.QUOTA)

Deliver = Callable[[str, Answer], None]


@dataclass(slots=True)
class Harvest:
    """What came back, and what is still out."""

    finished: int = 0
    inputs: int = 0
    tokens: int = 0
    out: int = 0
    out_inputs: int = 0
    problems: list[str] = field(default_factory=list)
    """One line for each batch that did not simply complete."""

    def add(self, more: Harvest) -> None:
        """Count another harvest in."""
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
    """Fetch what has been answered; `deliver(space, answer)` stores it, and may see an answer again after a crash.

    With `space` only its batches are looked at, else the pipeline's all. The inputs of an answer carry no text.
    Raises ProviderRefused and ProviderUnavailable, and what `deliver` raises.
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
    """Keys of a space's batches that a harvest would bring further: answered, or not taken on by the API yet.

    One small request each and no result is fetched, so that it can be asked every few minutes. Raises as `harvest`.
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
    """What became of the lines of one batch."""

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
        """Bring one batch further; whether it is finished."""
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
        problem = problem_of(state)
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
            # Neither answered nor refused, or in a way that cannot be read.
            lines.failed += sorted(lines.inputs.keys() - lines.seen)
        self.ledger.refused(batch.key, lines.refused)
        self.ledger.failed(batch.key, lines.failed)
        self.ledger.finished(batch.key, state.status, problem)
        self.ledger.was_taken(self.config.bucket, batch.tokens)
        self.result.finished += 1
        if state.status != "completed" or problem is not None:
            self.result.problems.append(f"batch {state.id} {state.status}: {problem or 'the rest is submitted again'}")

    def _had_no_room(self, batch: OpenBatch, problem: str) -> None:
        """A batch that the API did not take on after all: it is over, and its texts are submitted in smaller parts."""
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
        """Give a batch up that the API does not know; whether that was done.

        Not while it may still be running: with the key of another account every batch is unknown, and what was ordered
        with the right one would be paid for again.
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
        """The id of a batch whose submission was not noted, and whether the batch is over without one.

        It is submitted where the API knows none.
        """
        if batch.file_id is None:
            # Never uploaded: nothing was paid, and its texts are planned again.
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
            # Its file is gone before the API took it on: nothing was paid either.
            self.ledger.finished(batch.key, "cancelled", str(error))
            self.result.problems.append(f"the file {batch.file_id} of a batch is gone; its texts are submitted again")
            return None, True
        if refused is not None:
            self._had_no_room(batch, refused)
        return None, refused is not None

    def _lines(self, file_id: str | None) -> Iterator[dict[str, Any]]:
        """The lines of a result file, which may be hundreds of megabytes and is not held in memory."""
        if file_id is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.jsonl"
            with explained(self.config), self.api.files.with_streaming_response.content(file_id) as response:
                response.stream_to_file(path)
            with path.open("rb") as file:
                for line in file:
                    # What cannot be read answers nothing, and is missing again.
                    with suppress(BrokenAnswer):
                        yield parsed(line)

    def _take(self, space: str, lines: _Lines, line: dict[str, Any]) -> None:
        """One line of a result file; a line that failed is missing again, one that was refused is noted as such."""
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
            # Paid for, and not to be again and again: the ordinary way gives up in time.
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
