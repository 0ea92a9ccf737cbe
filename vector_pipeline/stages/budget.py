"""How much may be spent: per run, and per day by all pipelines of a database together."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from vector_pipeline.embedding.models import usd
from vector_pipeline.errors import BudgetReached, ConfigurationError
from vector_pipeline.settings import variable
from vector_pipeline.stages.pipeline import Pipeline
from vector_pipeline.store import spending
from vector_pipeline.store.connection import Connection


@dataclass(slots=True)
class Budget:
    """What a run may spend; `reserve` before a request is sent, `record` when it was answered. USD."""

    model: str
    price_per_token: float | None
    per_run: float | None
    per_day: float | None
    spent_before: float
    reserved: float = 0.0
    spent: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, pipeline: Pipeline, model: str, spent_in_run: float = 0.0) -> Budget:
        """The budget of a run. Raises ConfigurationError where a limit is set and the price is not known."""
        settings = pipeline.settings
        million = usd(model, 1_000_000, usd_per_million_tokens=settings.usd_per_million_tokens)
        limited = settings.max_cost_usd is not None or settings.max_cost_usd_per_day is not None
        if million is None and limited:
            raise ConfigurationError(
                f"a budget is set, but the price of {model} is not known; set {variable('usd_per_million_tokens')}"
            )
        spent_before = 0.0
        if settings.max_cost_usd_per_day is not None:
            with pipeline.database.connect(role="budget") as connection:
                spent_before = spending.spent_today(connection)
        return cls(
            model=model,
            price_per_token=None if million is None else million / 1_000_000,
            per_run=settings.max_cost_usd,
            per_day=settings.max_cost_usd_per_day,
            spent_before=spent_before,
            reserved=spent_in_run,
            spent=spent_in_run,
        )

    def reserve(self, tokens: int) -> None:
        """Count a request before it is sent. Raises BudgetReached where it would pass a limit."""
        if self.price_per_token is None:
            return
        cost = tokens * self.price_per_token
        with self._lock:
            after = self.reserved + cost
            for limit, total, name in (
                (self.per_run, after, "max_cost_usd"),
                (self.per_day, self.spent_before + after, "max_cost_usd_per_day"),
            ):
                if limit is not None and total > limit:
                    raise BudgetReached(
                        f"{variable(name)} is {limit:g} and the next request would pass it "
                        f"(${total - cost:.4f} are spent): what was paid is kept, and the next run goes on from there"
                    )
            self.reserved = after

    def record(self, connection: Connection, tokens: int) -> None:
        """Note what an answer cost."""
        if self.price_per_token is None:
            return
        cost = tokens * self.price_per_token
        with self._lock:
            self.spent += cost
        spending.record(connection, self.model, cost, tokens)

    @property
    def spent_in_run(self) -> float | None:
        """USD spent by this run; None where the price is not known."""
        return None if self.price_per_token is None else self.spent
