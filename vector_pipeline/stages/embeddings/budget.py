"""Budgets: of one run, and of a day or a night for all pipelines of a database together."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from vector_pipeline.embedding.models import usd
from vector_pipeline.errors import BudgetReached, ConfigurationError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import variable
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.shared import spending
from vector_pipeline.store.shared.batches import tokens_out
from vector_pipeline.store.space import list_spaces


@dataclass(frozen=True, slots=True)
class Recorded:
    """The cost of an answer in USD."""

    usd: float = 0.0
    unforeseen: float = 0.0
    """The cost minus what was reserved for it."""
    spent_by_all: Mapping[str, float] = field(default_factory=dict)
    """The spending of all runs, including this answer, for each shared limit."""
    transaction: str | None = None
    """The number of the transaction that records it."""


@dataclass(slots=True)
class Budget:
    """The budget of a run in USD. Call `reserve` before sending a request, and `record` for its answer.

    With each answer a run sees the spending of the others. So a shared limit is exceeded at most by the cost of the
    requests under way.
    """

    model: str
    price_per_token: float | None
    per_run: float | None
    shared: dict[str, float]
    """Limits for all runs together (of a day and of a night), by the names of their settings."""
    spent_by_others: dict[str, float]
    """The spending of other runs for each of these limits."""
    committed: float = 0.0
    """The cost of unfinished batches. It counts as spent when they are harvested."""
    ordered: float = 0.0
    """The part of it that this run submitted to other spaces."""
    reserved: float = 0.0
    spent: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(
        cls,
        pipeline: Pipeline,
        model: str,
        spent_in_run: float = 0.0,
        *,
        ordered: float = 0.0,
        spend_until: float | None = None,
    ) -> Budget:
        """Open the budget of a run. It is also used up when the spending of all time reaches `spend_until`.

        `spent_in_run` is what the run has spent before, and `ordered` the cost of the batches that it has submitted.
        Raises ConfigurationError if a limit is set and the price is not known.
        """
        settings = pipeline.settings
        million = usd(model, 1_000_000, usd_per_million_tokens=settings.usd_per_million_tokens)
        limits = {"max_cost_usd_per_day": settings.max_cost_usd_per_day, "backfill_max_cost_usd": spend_until}
        shared = {name: limit for name, limit in limits.items() if limit is not None}
        if million is None and (shared or settings.max_cost_usd is not None):
            raise ConfigurationError(
                f"a budget is set, but the price of {model} is not known; set {variable('usd_per_million_tokens')}"
            )
        spent_before: dict[str, float] = {}
        if shared:
            with pipeline.database.connect(role="budget") as connection:
                spent_before = {name: _spent(connection, name) - spent_in_run for name in shared}
        return cls(
            model=model,
            price_per_token=None if million is None else million / 1_000_000,
            per_run=settings.max_cost_usd,
            ordered=ordered,
            shared=shared,
            spent_by_others=spent_before,
            reserved=spent_in_run,
            spent=spent_in_run,
        )

    def reserve(self, tokens: int) -> None:
        """Reserve the cost of a request before it is sent. Raises BudgetReached if it would exceed a limit."""
        if self.price_per_token is None:
            return
        cost = tokens * self.price_per_token
        with self._lock:
            after = self.reserved + cost
            if self.per_run is not None and self.ordered + after > self.per_run:
                raise _reached("max_cost_usd", self.per_run, self.ordered + self.reserved, "this run")
            for name, limit in self.shared.items():
                before = self.spent_by_others[name] + self.committed
                if before + after > limit:
                    raise _reached(name, limit, before + self.reserved, f"{_SINCE[name]} or out in batches, by all runs")
            self.reserved = after

    def record(
        self, connection: Connection, tokens: int, *, reserved: int | None = None, already: bool = False
    ) -> Recorded:
        """Record the cost of an answer in Postgres. Call `count` with the result after the transaction has committed.

        `reserved` is the number of tokens that was reserved for the request. It may differ from `tokens`: some models
        count differently, and a request may have been paid for twice. `already` means that an earlier transaction has
        recorded it.
        """
        if self.price_per_token is None:
            return Recorded()
        cost = tokens * self.price_per_token
        unforeseen = 0.0 if reserved is None else cost - reserved * self.price_per_token
        transaction = None if already else spending.record(connection, self.model, cost, tokens)
        return Recorded(cost, unforeseen, {name: _spent(connection, name) for name in self.shared}, transaction)

    def count(self, recorded: Recorded) -> None:
        """Count a recorded answer. A transaction that is rolled back and repeated is then counted once."""
        with self._lock:
            self.spent += recorded.usd
            self.reserved += recorded.unforeseen
            for name, by_all in recorded.spent_by_all.items():
                self.spent_by_others[name] = max(0.0, by_all - self.spent)

    @property
    def spent_in_run(self) -> float | None:
        """The USD that this run has spent; None if the price is not known."""
        return None if self.price_per_token is None else self.spent


def usd_out_in_batches(connection: Connection, pipeline: Pipeline) -> float:
    """The cost in USD of the pipeline's unfinished batches, as far as prices are known."""
    models = {space.name: space.model for space in list_spaces(connection)}
    price = pipeline.settings.usd_per_million_tokens
    return sum(
        usd(models[space], tokens, batch=True, usd_per_million_tokens=price) or 0.0
        for space, tokens in tokens_out(connection, pipeline.database.schema).items()
        if space in models
    )


def committed_in_all(connection: Connection, pipeline: Pipeline) -> float:
    """The USD that all runs have ever spent, and the cost of the pipeline's unfinished batches.

    The budget of a night is counted from this sum, because the spending of a day starts at 0 again at midnight.
    """
    return spending.spent_in_all(connection) + usd_out_in_batches(connection, pipeline)


_SINCE = {"max_cost_usd_per_day": "today", "backfill_max_cost_usd": "since the first day"}


def _spent(connection: Connection, limit: str) -> float:
    return spending.spent_today(connection) if limit == "max_cost_usd_per_day" else spending.spent_in_all(connection)


def _reached(setting: str, limit: float, spent: float, by: str) -> BudgetReached:
    return BudgetReached(
        f"{variable(setting)} allows no more: the next request would pass ${limit:.4f}, with ${spent:.4f} spent "
        f"{by}; what was paid is kept, and the next run continues from there"
    )
