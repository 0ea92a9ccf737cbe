"""Embed the texts of a plan: claim them, send them, and store each answer in Postgres when it arrives.

A text that another run is sending is not sent again; this run waits for its vector. No answer is lost: while Postgres is
away no new request is sent, and answers that cannot be stored in time are spilled to a file under the home.
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
from vector_pipeline.errors import BudgetReached, DatabaseUnavailable, counted, one_line
from vector_pipeline.pipeline.model import Target, targets
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import EMBEDDED_MODELS
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

# The time between two checks of texts that another run is sending.
LOOK_AGAIN_SECONDS = 0.5


@dataclass(slots=True)
class EmbedResult:
    """The result of embedding a plan."""

    usage: Usage = field(default_factory=Usage)
    stored: int = 0
    stored_meanwhile: int = 0
    """The number of texts whose vector was stored by another run before they were sent."""
    usd: float | None = None
    seconds: float = 0.0
    rejected: dict[str, str] = field(default_factory=dict)
    """Maps the hash of a refused text, in hex, to the reason, which quotes the beginning of the text."""
    stopped: str | None = None
    """Why not all texts were sent. The next run sends the rest."""


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
    """Embed the texts of a plan into the spaces that it names, until the spending of all time is `spend_until` USD.

    If the caller passes `result`, it is filled and returned, so the caller knows what was paid even after an error.
    Raises ProviderRefused, ProviderUnavailable or DatabaseUnavailable; earlier answers are stored. A budget that is
    reached is not an error: `stopped` of the result says so.
    """
    began = time.monotonic()
    run = _PlanRun(pipeline, config, spend_until, _harmless(log), _harmless(progress), result or EmbedResult())
    try:
        run.run(plan)
    except ConnectionLost as error:
        raise DatabaseUnavailable(
            f"the connection to Postgres broke while texts were embedded ({one_line(error)}); all answers are kept"
        ) from error
    finally:
        run.result.seconds = time.monotonic() - began
    return run.result


def _harmless(write: Callable[[str], None]) -> Callable[[str], None]:
    """A log function without its errors. On a full disk a line cannot be logged, but no paid answer may be lost."""

    def write_if_possible(line: str) -> None:
        with suppress(Exception):
            write(line)

    return write_if_possible


@dataclass(slots=True)
class _PlanRun:
    pipeline: Pipeline
    config: ClientConfig
    spend_until: float | None
    log: Callable[[str], None]
    progress: Callable[[str], None]
    result: EmbedResult
    ordered: float = 0.0
    """The cost in USD of the batches that this run has submitted."""

    def run(self, plan: Iterable[PlannedText]) -> None:
        store_spilled(self.pipeline, self.log)
        wanted = self._targets()
        # There is usually one space. While a second one fills, the arrival's texts are held in memory and sent to both.
        texts: Iterable[PlannedText] = plan if len(wanted) == 1 else list(plan)
        if self.pipeline.settings.embedding_mode == "sync" and _has_batches_out(self.pipeline, self.config):
            # Left from batch mode. Harvested texts need not be sent, and those in unfinished batches are not sent again.
            from vector_pipeline.stages.embeddings.batches import harvest

            harvest(self.pipeline, self.config, log=self.log)
        for target in wanted:
            self._embed_into(target, _of_target(texts, target))

    def _targets(self) -> Sequence[Target]:
        with self.pipeline.database.connect(role="embeddings") as connection:
            return targets(connection, self.pipeline.settings)

    def _embed_into(self, target: Target, texts: Iterator[PlannedText]) -> None:
        while target.space is None:
            # The first text is sent by itself, because its answer shows the dimensions. If the model has too many, it is
            # refused at almost no cost. The other texts may be sent in batches.
            first = next(texts, None)
            if first is None or self.result.stopped:
                return
            self._send(target, iter([first]))
            (target,) = self._targets()
        out = 0
        if _goes_in_batches(self.pipeline, target):
            from vector_pipeline.stages.embeddings.batches import embed_in_batches

            sent = embed_in_batches(
                self.pipeline,
                target.space,
                texts,
                self.config.for_model(target.model, target.dimensions, target.roles),
                spend_until=self.spend_until,
                spent=self.result.usd or 0.0,
                ordered=self.ordered,
                log=self.log,
            )
            self.result.stored += sent.stored
            self.result.stopped = sent.stopped
            self.ordered += sent.ordered
            out = sent.out
            # Texts that were refused inside a batch are sent in ordinary requests, which find the text at fault.
            texts = iter(sent.singly)
        out += len(self._send(target, texts))
        if out and not self.result.stopped:
            self.result.stopped = (
                f"{counted(out, 'text waits', 'texts wait')} for answers of batches; a later run loads their files"
            )

    def _send(self, target: Target, texts: Iterator[PlannedText]) -> set[bytes]:
        """Send texts in ordinary requests; returns the hashes of those in unfinished batches."""
        config = self.config.for_model(target.model, target.dimensions, target.roles)
        run = _TargetRun(
            self.pipeline, target, config, self.result, self.spend_until, self.ordered, self.log, self.progress
        )
        run.run(texts)
        return run.out


def _of_target(texts: Iterable[PlannedText], target: Target) -> Iterator[PlannedText]:
    # A plan that was made before the first answer of the model names the model, because there was no space yet.
    return (text for text in texts if text.space in (target.name, target.name_before_vectors))


def _has_batches_out(pipeline: Pipeline, config: ClientConfig) -> bool:
    """Whether the account has unfinished batches."""
    if pipeline.settings.uses_embedded_model:
        return False
    with pipeline.database.connect(role="batches") as connection:
        configs = [config.for_model(space.model, space.dimensions) for space in list_spaces(connection)]
        buckets = {of_space.bucket for of_space in configs}
        return any(PostgresBatchLedger(connection, pipeline.database.schema, b).unfinished() for b in buckets)


def _goes_in_batches(pipeline: Pipeline, target: Target) -> bool:
    """Whether texts are submitted to the Batch API."""
    return pipeline.settings.embedding_mode == "batch" and target.model not in EMBEDDED_MODELS


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
    """Texts in unfinished batches. They are not sent again."""

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
        # Its import is slow because of the HTTP libraries, so it is imported only when something is sent.
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
        """Yield each request when there is room for its answer."""
        for batch in batches:
            store.expect(len(batch))
            yield batch

    def _report(self, progress: Progress) -> None:
        self.progress(str(progress))

    def _batches(
        self, texts: Iterator[PlannedText], lookups: Kept, claims: Claims, budget: Budget
    ) -> Iterator[list[EmbeddingInput]]:
        """Yield requests with the texts of the plan that have no vector yet and that this run could claim."""
        elsewhere: dict[bytes, EmbeddingInput] = {}
        for _, planned in groupby(texts, key=lambda text: text.batch):
            prefix = self.target.prefix
            inputs = {t.content_hash: EmbeddingInput(prefix + t.text, t.token_count, t.content_hash) for t in planned}
            yield from self._claimed(inputs, elsewhere, lookups, claims, budget)
        if elsewhere:
            self.log(
                f"{counted(len(elsewhere), 'text is', 'texts are')} being embedded by another run; waiting for that"
            )
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
        # Check again after the claim: another run may have stored a vector and released its claim in between.
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
        prove(connection, select_owner(connection))  # before anything more is paid for
        names = [self.target.name, self.target.name_before_vectors]
        refused = rejected_texts.find_rejections(connection, names, hashes)
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
