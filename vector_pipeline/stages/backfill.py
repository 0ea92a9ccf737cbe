"""The plan through the Batch API: half the price, and nobody waits for it.

Each run harvests what has been answered, submits what is new and says what is still out; the files whose vectors
are out stay pending, and a later run loads them. What the API refused within a batch goes the ordinary way, which
finds the culprit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import openai

from vector_pipeline.embedding import batch_api
from vector_pipeline.embedding.client import Answer, ClientConfig, EmbeddingInput
from vector_pipeline.embedding.models import BATCH_DISCOUNT, TIERS
from vector_pipeline.errors import BudgetReached
from vector_pipeline.stages.budget import Budget
from vector_pipeline.stages.pipeline import Pipeline
from vector_pipeline.stages.schemas import PlannedText
from vector_pipeline.store import rejected_texts, vectors
from vector_pipeline.store.batches import PostgresBatchLedger
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.spaces import Space

# Hashes asked for at once.
LOOKUP = 2_000


@dataclass(slots=True)
class Backfill:
    """What one run brought in and sent out; `singly` are the texts that go the ordinary way."""

    harvested: batch_api.Harvest = field(default_factory=batch_api.Harvest)
    submitted: batch_api.Submitted = field(default_factory=batch_api.Submitted)
    stored: int = 0
    singly: list[PlannedText] = field(default_factory=list)
    out: int = 0
    """Texts of the plan that batches are to answer, those just submitted among them."""
    stopped: str | None = None
    """Why not all was submitted."""

    def __str__(self) -> str:
        return (
            f"batches: {self.harvested.inputs:,} texts came back, {self.submitted.inputs:,} were submitted, "
            f"{self.out:,} of this plan are out, {self.submitted.left:,} wait for room in the account's queue"
        )


def backfill(
    pipeline: Pipeline,
    space: Space,
    plan: Iterable[PlannedText],
    config: ClientConfig,
    *,
    log: Callable[[str], None] = lambda _: None,
) -> Backfill:
    """Harvest and submit for one space. Returns without waiting for any batch.

    Raises ProviderRefused, ProviderUnavailable and DatabaseError; what was harvested before is stored, what was
    submitted is in the ledger.
    """
    result = Backfill()
    database = pipeline.database
    with (
        database.connect(role="batches") as connection,
        database.connect(role="answers") as answers,
        batch_api.open_api(config) as api,
    ):
        ledger = PostgresBatchLedger(connection, database.schema)
        budget = Budget.open(pipeline, space.model)
        if budget.price_per_token is not None:
            budget.price_per_token *= BATCH_DISCOUNT

        def store(_: str, answer: Answer) -> None:
            hashes = [i.content_hash for i in answer.inputs]
            result.stored += vectors.store_vectors(answers, space, hashes, answer.vectors)
            budget.record(answers, answer.tokens)
            pipeline.advance("texts embedded", len(hashes))

        result.harvested = batch_api.harvest(api, config, ledger, store, space=space.name)
        for problem in result.harvested.problems:
            log(problem)
        # One at a time: between the look at what is out and the note of what goes out nobody else submits.
        with _alone(connection, f"{database.schema} {space.name}"):
            run = _Submission(pipeline, space, ledger, connection, budget, result)
            result.submitted = _submit(api, config, run, plan, pipeline)
        result.out += result.submitted.inputs + result.submitted.left
    log(str(result))
    return result


def _submit(
    api: openai.OpenAI, config: ClientConfig, run: _Submission, plan: Iterable[PlannedText], pipeline: Pipeline
) -> batch_api.Submitted:
    tier = TIERS.get(pipeline.settings.tier or "")
    queue = tier.batch_queue_tokens if tier else None
    return batch_api.submit(api, config, run.ledger, run.space.name, run.wanted(plan), queue_tokens=queue)


@dataclass(slots=True)
class _Submission:
    pipeline: Pipeline
    space: Space
    ledger: PostgresBatchLedger
    connection: Connection
    budget: Budget
    result: Backfill

    def wanted(self, plan: Iterable[PlannedText]) -> Iterator[EmbeddingInput]:
        """What is to be submitted: not stored, not out, not refused, within the budget."""
        texts = iter(plan)
        while group := list(islice(texts, LOOKUP)):
            by_hash = {text.content_hash: text for text in group}
            missing = vectors.missing(self.connection, self.space, list(by_hash))
            missing -= set(rejected_texts.reasons(self.connection, self.space.name, list(missing)))
            out = self.ledger.under_way(self.space.name, list(missing))
            singly = self.ledger.to_send_singly(self.space.name, list(missing - out))
            self.result.out += len(out)
            self.result.singly += [text for key, text in by_hash.items() if key in singly]
            for key in [key for key in by_hash if key in missing - out - singly]:
                try:
                    self.budget.reserve(by_hash[key].token_count)
                except BudgetReached as reached:
                    self.result.stopped = str(reached)
                    return
                yield EmbeddingInput(by_hash[key].text, by_hash[key].token_count, key)


@contextmanager
def _alone(connection: Connection, name: str) -> Iterator[None]:
    key = f"vector_pipeline submit {name}"
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (key,))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (key,))
