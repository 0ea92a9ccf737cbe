"""Embed a plan through the Batch API, at half the price and without waiting.

Each run harvests the answers of finished batches and submits new texts. Files with texts in unfinished batches stay
pending, and a later run loads them. Texts that the API refused inside a batch are sent in ordinary requests, which find
out which text is the cause. A run in `sync` mode harvests too, and does not send texts of unfinished batches again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import openai

from vector_pipeline.embedding.batch.api import open_api
from vector_pipeline.embedding.batch.harvest import Harvest, ready
from vector_pipeline.embedding.batch.harvest import harvest as harvest_batches
from vector_pipeline.embedding.batch.submit import Submitted
from vector_pipeline.embedding.batch.submit import submit as submit_batches
from vector_pipeline.embedding.models import BATCH_DISCOUNT, TIERS
from vector_pipeline.embedding.values import Answer, ClientConfig, EmbeddingInput
from vector_pipeline.errors import BudgetReached
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.embeddings.budget import Budget, Recorded, usd_out_in_batches
from vector_pipeline.stages.streams import PlannedText
from vector_pipeline.store import rejected_texts, vectors
from vector_pipeline.store.claims import Claims
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.locks import submission
from vector_pipeline.store.shared.batches import PostgresBatchLedger
from vector_pipeline.store.space import Space, list_spaces

# The number of hashes in one look-up.
LOOKUP = 2_000


@dataclass(slots=True)
class BatchOutcome:
    """The result of one run. `singly` are the texts to send in ordinary requests."""

    harvested: Harvest = field(default_factory=Harvest)
    submitted: Submitted = field(default_factory=Submitted)
    stored: int = 0
    singly: list[PlannedText] = field(default_factory=list)
    out: int = 0
    """The number of texts of the plan in unfinished batches, including those just submitted."""
    ordered: float = 0.0
    """The cost in USD of what was submitted, if the price is known."""
    stopped: str | None = None
    """Why not all texts were submitted."""

    def __str__(self) -> str:
        return (
            f"batches: {self.harvested.inputs:,} texts were answered, {self.submitted.inputs:,} were submitted, "
            f"{self.out:,} of this plan wait for an answer, {self.submitted.left:,} wait for room in the account's queue"
            + (f" ({self.submitted.full})" if self.submitted.full else "")
        )


def embed_in_batches(
    pipeline: Pipeline,
    space: Space,
    plan: Iterable[PlannedText],
    config: ClientConfig,
    *,
    spend_until: float | None = None,
    spent: float = 0.0,
    ordered: float = 0.0,
    log: Callable[[str], None] = lambda _: None,
) -> BatchOutcome:
    """Harvest and submit for one space, until the spending of all time is `spend_until` USD. It does not wait.

    `spent` is what the run has spent before, and `ordered` the cost of what it has submitted to other spaces, in USD.
    Raises ProviderRefused, ProviderUnavailable and DatabaseError. What was harvested before is stored, and what was
    submitted is in the ledger.
    """
    result = BatchOutcome()
    database = pipeline.database
    with (
        database.connect(role="batches") as connection,
        Claims(database, space.name, retry_seconds=config.retry_seconds, log=log) as claims,
        open_api(config) as api,
    ):
        ledger = PostgresBatchLedger(connection, database.schema, config.bucket)
        result.harvested, result.stored = _harvest(pipeline, space, api, config, ledger, log)
        # Opened after the harvest, so that the limit of the day includes its cost.
        budget = _budget(pipeline, space, spend_until, spent, ordered)
        # One run at a time: no other may submit between the check of unfinished batches and the entry of new ones.
        with submission(connection, f"{database.schema} {space.name}"):
            budget.committed = usd_out_in_batches(connection, pipeline)
            run = _Submission(pipeline, space, ledger, connection, claims, budget, result)
            result.submitted = _submit(api, config, run, plan, pipeline)
        result.out += result.submitted.inputs + result.submitted.left
        result.ordered = result.submitted.tokens * (budget.price_per_token or 0.0)
    log(str(result))
    return result


def harvest(pipeline: Pipeline, config: ClientConfig, *, log: Callable[[str], None] = lambda _: None) -> Harvest:
    """Harvest the finished batches of the account for all spaces, without waiting.

    Raises the errors of `embed_in_batches`.
    """
    total = Harvest()
    with pipeline.database.connect(role="batches") as connection:
        for space in list_spaces(connection):
            of_space = config.for_model(space.model, space.dimensions, space.roles)
            ledger = PostgresBatchLedger(connection, pipeline.database.schema, of_space.bucket)
            if not any(batch.space == space.name for batch in ledger.unfinished()):
                continue
            with open_api(of_space) as api:
                found, _ = _harvest(pipeline, space, api, of_space, ledger, log)
            total.add(found)
    return total


@dataclass(frozen=True, slots=True)
class Outstanding:
    """The state of batches: the number of unfinished ones, and the number that a harvest can advance.

    `last_finished` is the time when the last one was harvested, as text; empty if none ever was.
    """

    batches: int
    ready: int
    last_finished: str


def outstanding(pipeline: Pipeline, config: ClientConfig) -> Outstanding:
    """The state of the account's batches. It sends one small request for each unfinished one.

    Raises ProviderRefused, ProviderUnavailable and DatabaseError.
    """
    batches = over = 0
    last = ""
    with pipeline.database.connect(role="batches") as connection:
        for space in list_spaces(connection):
            of_space = config.for_model(space.model, space.dimensions)
            ledger = PostgresBatchLedger(connection, pipeline.database.schema, of_space.bucket)
            last = max(last, ledger.last_finished())
            if out := sum(batch.space == space.name for batch in ledger.unfinished()):
                batches += out
                with open_api(of_space) as api:
                    over += len(ready(api, of_space, ledger, space.name))
    return Outstanding(batches, over, last)


def _budget(
    pipeline: Pipeline, space: Space, spend_until: float | None = None, spent: float = 0.0, ordered: float = 0.0
) -> Budget:
    budget = Budget.open(pipeline, space.model, spent, ordered=ordered, spend_until=spend_until)
    if budget.price_per_token is not None:
        budget.price_per_token *= BATCH_DISCOUNT
    return budget


def _harvest(
    pipeline: Pipeline,
    space: Space,
    api: openai.OpenAI,
    config: ClientConfig,
    ledger: PostgresBatchLedger,
    log: Callable[[str], None],
) -> tuple[Harvest, int]:
    """Harvest the batches of one space; returns the result and the number of new vectors."""
    stored = 0
    budget = _budget(pipeline, space)
    with pipeline.database.connect(role="answers") as answers:

        def store(_: str, answer: Answer) -> None:
            nonlocal stored
            hashes = [i.content_hash for i in answer.inputs]
            with answers.transaction():
                new = vectors.store_vectors(answers, space, hashes, answer.vectors)
                # After an interrupted harvest the same lines come again. They are already stored and counted.
                cost = budget.record(answers, answer.tokens) if new else Recorded()
            budget.count(cost)
            stored += new
            pipeline.advance("texts embedded", len(hashes))

        found = harvest_batches(api, config, ledger, store, space=space.name)
    for problem in found.problems:
        log(problem)
    return found, stored


def _submit(
    api: openai.OpenAI, config: ClientConfig, run: _Submission, plan: Iterable[PlannedText], pipeline: Pipeline
) -> Submitted:
    tier = TIERS.get(pipeline.settings.tier or "")
    return submit_batches(
        api,
        config,
        run.ledger,
        run.space.name,
        run.wanted(plan),
        limits=pipeline.request_limits,
        queue_tokens=tier.batch_queue_tokens if tier else None,
    )


@dataclass(slots=True)
class _Submission:
    pipeline: Pipeline
    space: Space
    ledger: PostgresBatchLedger
    connection: Connection
    claims: Claims
    budget: Budget
    result: BatchOutcome

    def wanted(self, plan: Iterable[PlannedText]) -> Iterator[EmbeddingInput]:
        """Yield the texts to submit: not stored, submitted, refused or being sent, and within the budget."""
        texts = iter(plan)
        while group := list(islice(texts, LOOKUP)):
            by_hash = {text.content_hash: text for text in group}
            # Claimed until the ledger has them, so that no other run sends them in ordinary requests.
            mine = self.claims.claim(by_hash)
            missing = vectors.missing(self.connection, self.space, list(by_hash))
            self.result.out += len(missing - mine)
            missing &= mine
            names = [self.space.name, self.space.name_before_vectors]
            missing -= set(rejected_texts.find_rejections(self.connection, names, list(missing)))
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
                yield EmbeddingInput(self.space.document_prefix + by_hash[key].text, by_hash[key].token_count, key)
