"""The plan, paid for: texts claimed, sent, and each answer written to Postgres the moment it arrives.

What another run is sending is waited for and not sent again; what was answered is never lost: while Postgres is
away nothing new is sent, and what cannot be stored in time is spilled to a file under the home.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import groupby

from vector_pipeline.embedding.flow import embed_batches, run_apart
from vector_pipeline.embedding.providers.base import Purpose
from vector_pipeline.embedding.requests import pack, weigh
from vector_pipeline.embedding.values import ClientConfig, EmbeddingInput, Progress, Usage
from vector_pipeline.errors import BudgetReached, DatabaseUnavailable, one_line
from vector_pipeline.pipeline.model import Target, targets
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.embeddings.answer_store import AnswerStore, store_spilled
from vector_pipeline.stages.embeddings.budget import Budget
from vector_pipeline.stages.streams import PlannedText
from vector_pipeline.store import rejected_texts, vectors
from vector_pipeline.store.claims import Claims
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.failures import ConnectionLost
from vector_pipeline.store.fencing import prove, select_owner
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.shared.batches import PostgresBatchLedger
from vector_pipeline.store.shared.pacing import PostgresPacer
from vector_pipeline.store.space import list_spaces

# How long to wait before looking again at texts that another run is sending.
LOOK_AGAIN_SECONDS = 0.5


@dataclass(slots=True)
class EmbedResult:
    """What was asked of the API and what became of it."""

    usage: Usage = field(default_factory=Usage)
    stored: int = 0
    stored_meanwhile: int = 0
    """Texts of the plan whose vector was there by the time they would have been sent."""
    usd: float | None = None
    seconds: float = 0.0
    rejected: dict[str, str] = field(default_factory=dict)
    """Hash of a text that the API refuses, in hex, to its reason, which quotes how the text begins."""
    stopped: str | None = None
    """Why not all was sent: a budget; the rest is for the next run."""


def embed_plan(
    pipeline: Pipeline,
    plan: Iterable[PlannedText],
    config: ClientConfig,
    *,
    spend_until: float | None = None,
    result: EmbedResult | None = None,
    log: Callable[[str], None] = lambda _: None,
    progress: Callable[[str], None] = lambda _: None,
) -> EmbedResult:
    """Embed what a plan asks for into the spaces that it names, at most until all that was spent is `spend_until` USD.

    `result` is what is returned; whoever gives one knows what was paid also where this raises.
    Raises ProviderRefused, ProviderUnavailable or DatabaseUnavailable; what was answered before is stored. A budget
    that is reached is no error: the result says so.
    """
    began = time.monotonic()
    run = _PlanRun(pipeline, config, spend_until, _harmless(log), _harmless(progress), result or EmbedResult())
    try:
        run.run(plan)
    except ConnectionLost as error:
        raise DatabaseUnavailable(
            f"Postgres went away while texts were embedded ({one_line(error)}); what was answered is kept"
        ) from error
    finally:
        run.result.seconds = time.monotonic() - began
    return run.result


def _harmless(say: Callable[[str], None]) -> Callable[[str], None]:
    """The same, without its errors: on a full disk no line can be logged, and no paid answer is to be lost for that."""

    def say_if_possible(line: str) -> None:
        with suppress(Exception):
            say(line)

    return say_if_possible


@dataclass(slots=True)
class _PlanRun:
    pipeline: Pipeline
    config: ClientConfig
    spend_until: float | None
    log: Callable[[str], None]
    progress: Callable[[str], None]
    result: EmbedResult
    ordered: float = 0.0
    """USD that batches submitted by this run are going to cost."""

    def run(self, plan: Iterable[PlannedText]) -> None:
        store_spilled(self.pipeline, self.log)
        wanted = self._targets()
        # One space nearly always; while a second fills, the arrival's texts are held in memory to be sent to each.
        texts: Iterable[PlannedText] = plan if len(wanted) == 1 else list(plan)
        if self.pipeline.settings.embedding_mode == "sync" and _has_batches_out(self.pipeline, self.config):
            # Left from another mode; what they bring need not be sent, and what is still out is not sent again.
            from vector_pipeline.stages.embeddings.batches import harvest

            harvest(self.pipeline, self.config, log=self.log)
        for target in wanted:
            self._embed_into(target, _of_target(texts, target))

    def _targets(self) -> Sequence[Target]:
        with self.pipeline.database.connect(role="embeddings") as connection:
            return targets(connection, self.pipeline.settings)

    def _embed_into(self, target: Target, texts: Iterator[PlannedText]) -> None:
        while target.space is None:
            # The first text goes alone and tells the dimensions: a model that has too many is refused for next to
            # nothing, and what follows may go in batches.
            first = next(texts, None)
            if first is None or self.result.stopped:
                return
            self._send(target, iter([first]))
            (target,) = self._targets()
        out = 0
        if _goes_in_batches(self.pipeline):
            from vector_pipeline.stages.embeddings.batches import embed_in_batches

            sent = embed_in_batches(
                self.pipeline,
                target.space,
                texts,
                self.config.for_model(target.model, target.dimensions),
                spend_until=self.spend_until,
                spent=self.result.usd or 0.0,
                ordered=self.ordered,
                log=self.log,
            )
            self.result.stored += sent.stored
            self.result.stopped = sent.stopped
            self.ordered += sent.ordered
            out = sent.out
            # What was refused inside a batch goes the ordinary way, which finds the culprit.
            texts = iter(sent.singly)
        out += len(self._send(target, texts))
        if out and not self.result.stopped:
            self.result.stopped = f"{out:,} texts are out in batches; a later run brings them in and loads their files"

    def _send(self, target: Target, texts: Iterator[PlannedText]) -> set[bytes]:
        """Send texts the ordinary way; returns those that are out in batches."""
        config = self.config.for_model(target.model, target.dimensions)
        run = _TargetRun(
            self.pipeline, target, config, self.result, self.spend_until, self.ordered, self.log, self.progress
        )
        run.run(texts)
        return run.out


def _of_target(texts: Iterable[PlannedText], target: Target) -> Iterator[PlannedText]:
    # Named by its model where the plan was made before the model's first answer made a space of it.
    return (text for text in texts if text.space in (target.name, target.model))


def _has_batches_out(pipeline: Pipeline, config: ClientConfig) -> bool:
    """Whether batches of the account were submitted that nobody brought in yet."""
    if pipeline.settings.uses_embedded_model:
        return False
    with pipeline.database.connect(role="batches") as connection:
        configs = [config.for_model(space.model, space.dimensions) for space in list_spaces(connection)]
        buckets = {of_space.bucket for of_space in configs}
        return any(PostgresBatchLedger(connection, pipeline.database.schema, b).unfinished() for b in buckets)


def _goes_in_batches(pipeline: Pipeline) -> bool:
    """Whether texts are submitted to the Batch API."""
    return pipeline.settings.embedding_mode == "batch" and not pipeline.settings.uses_embedded_model


@dataclass(slots=True)
class _TargetRun:
    pipeline: Pipeline
    target: Target
    config: ClientConfig
    result: EmbedResult
    spend_until: float | None
    ordered: float
    log: Callable[[str], None]
    progress: Callable[[str], None]
    out: set[bytes] = field(default_factory=set)
    """Texts that were submitted in a batch before: they are paid for, and not sent again."""

    def run(self, texts: Iterator[PlannedText]) -> None:
        first = next(texts, None)
        if first is None:
            return
        database = self.pipeline.database
        with ExitStack() as stack:
            lookups = stack.enter_context(Kept(database, "embeddings", log=self.log))
            claims = stack.enter_context(
                Claims(database, self.target.name, retry_seconds=self.config.retry_seconds, log=self.log)
            )
            spent = self.result.usd or 0.0
            budget = Budget.open(
                self.pipeline, self.target.model, spent, ordered=self.ordered, spend_until=self.spend_until
            )
            store = stack.enter_context(
                AnswerStore(self.pipeline, self.target, self.config.bucket, claims, budget, self.log)
            )
            batches = self._expected(store, self._batches(_chain(first, texts), lookups, claims, budget))
            pacer = PostgresPacer.of(database, self.config)
            usage = Usage()
            try:
                run_apart(self._send(pacer, batches, store, usage))
            except BudgetReached as reached:
                self.result.stopped = str(reached)
                self.log(str(reached))
            finally:
                self.result.stored += store.stored
                self.result.rejected.update(store.rejected)
                self.result.usd = budget.spent_in_run
                self.result.usage += usage

    async def _send(
        self, pacer: PostgresPacer, batches: Iterator[list[EmbeddingInput]], store: AnswerStore, usage: Usage
    ) -> None:
        # It imports what speaks HTTP: where something is to be sent, and not before.
        from vector_pipeline.embedding.client import EmbeddingClient

        try:
            async with EmbeddingClient(self.config, pacer, purpose=Purpose.DOCUMENT, usage=usage) as client:
                await embed_batches(
                    client, batches, store.deliver, max_in_flight=self.config.max_in_flight, progress=self._report
                )
        finally:
            await pacer.close()

    @staticmethod
    def _expected(store: AnswerStore, batches: Iterator[list[EmbeddingInput]]) -> Iterator[list[EmbeddingInput]]:
        """The requests, each once there is room for its answer."""
        for batch in batches:
            store.expect(len(batch))
            yield batch

    def _report(self, progress: Progress) -> None:
        self.progress(str(progress))

    def _batches(
        self, texts: Iterator[PlannedText], lookups: Kept, claims: Claims, budget: Budget
    ) -> Iterator[list[EmbeddingInput]]:
        """Requests of the plan, less what is stored by now, and only what this run could claim."""
        elsewhere: dict[bytes, EmbeddingInput] = {}
        for _, planned in groupby(texts, key=lambda text: text.batch):
            inputs = {t.content_hash: EmbeddingInput(t.text, t.token_count, t.content_hash) for t in planned}
            yield from self._claimed(inputs, elsewhere, lookups, claims, budget)
        if elsewhere:
            self.log(f"{len(elsewhere):,} texts are being embedded by another run; waiting for them")
        while elsewhere:
            waiting, elsewhere = elsewhere, {}
            for batch in pack(waiting.values(), self.pipeline.request_limits, lambda i: weigh(i.tokens, i.text)):
                inputs = {i.content_hash: i for i in batch}
                yield from self._claimed(inputs, elsewhere, lookups, claims, budget)
            if elsewhere:
                time.sleep(LOOK_AGAIN_SECONDS)

    def _claimed(
        self,
        inputs: dict[bytes, EmbeddingInput],
        elsewhere: dict[bytes, EmbeddingInput],
        lookups: Kept,
        claims: Claims,
        budget: Budget,
    ) -> Iterator[list[EmbeddingInput]]:
        hashes = list(inputs)
        mine = claims.claim(lookups.run(lambda connection: self._missing(connection, hashes)))
        # Asked again under the claim: between the first look and the claim another run may have stored it and let go.
        missing = lookups.run(lambda connection: self._missing(connection, hashes))
        claims.release(mine - missing)
        mine &= missing
        elsewhere.update((key, inputs[key]) for key in missing - mine)
        self.result.stored_meanwhile += len(set(inputs) - missing - self.out)
        if mine:
            batch = [value for key, value in inputs.items() if key in mine]
            budget.reserve(sum(i.tokens for i in batch))
            yield batch

    def _missing(self, connection: Connection, hashes: list[bytes]) -> set[bytes]:
        prove(connection, select_owner(connection))  # before anything more is paid
        refused = rejected_texts.find_rejections(connection, [self.target.name, self.target.model], hashes)
        space = self.target.space
        missing = set(hashes) if space is None else vectors.missing(connection, space, hashes)
        missing -= set(refused)
        if space is not None and not self.pipeline.settings.uses_embedded_model:
            ledger = PostgresBatchLedger(connection, self.pipeline.database.schema, self.config.bucket)
            out = ledger.under_way(space.name, list(missing))
            self.out |= out
            missing -= out
        return missing


def _chain(first: PlannedText, rest: Iterator[PlannedText]) -> Iterator[PlannedText]:
    yield first
    yield from rest
