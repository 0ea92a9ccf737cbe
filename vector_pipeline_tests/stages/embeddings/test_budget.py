"""Limits on money: of a run, and of a day that runs share."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from vector_pipeline.errors import BudgetReached, ConfigurationError, DatabaseUnavailable
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.stages.embeddings.budget import Budget, committed_in_all

MODEL = "text-embedding-3-small"


def opened(home: Path, url: str, **values: Any) -> Pipeline:
    """A pipeline whose tokens cost a dollar each, unless a price is given."""
    price = {"usd_per_million_tokens": 1_000_000.0, **values}
    settings = Settings.of(home=home, database_url=url, openai_api_key="sk-test", **price)
    with open_pipeline(settings) as pipeline:
        return pipeline


def test_a_run_stops_before_it_spends_more(tmp_path: Path, fresh_database_url: str) -> None:
    budget = Budget.open(opened(tmp_path, fresh_database_url, max_cost_usd=10.0), MODEL)
    budget.reserve(10)
    with pytest.raises(BudgetReached, match=r"MAX_COST_USD .* \$10\.0000, with \$10\.0000 spent this run"):
        budget.reserve(1)


def test_runs_side_by_side_share_the_day(tmp_path: Path, fresh_database_url: str) -> None:
    pipeline = opened(tmp_path, fresh_database_url, max_cost_usd_per_day=10.0)
    with pipeline.database.connect() as connection:
        one, other = Budget.open(pipeline, MODEL), Budget.open(pipeline, MODEL)
        for budget in (one, other):
            budget.reserve(4)
            budget.count(budget.record(connection, 4))
        with pytest.raises(BudgetReached, match="VECTOR_PIPELINE_MAX_COST_USD_PER_DAY"):
            other.reserve(3)
        other.reserve(2)


def test_a_limit_without_a_price_is_refused(tmp_path: Path, fresh_database_url: str) -> None:
    pipeline = opened(tmp_path, fresh_database_url, usd_per_million_tokens=None)
    with pytest.raises(ConfigurationError, match="VECTOR_PIPELINE_USD_PER_MILLION_TOKENS"):
        Budget.open(pipeline, "a-model-of-ones-own", spend_until=1.0)


def test_a_night_goes_on_past_midnight(tmp_path: Path, fresh_database_url: str) -> None:
    pipeline = opened(tmp_path, fresh_database_url)
    with pipeline.database.connect() as connection:
        until = committed_in_all(connection, pipeline) + 60.0
        evening = Budget.open(pipeline, MODEL, spend_until=until)
        evening.reserve(50)
        evening.count(evening.record(connection, 50))
        connection.execute("UPDATE vector_pipeline_shared.spending SET day = day - 1")
        for budget in (evening, Budget.open(pipeline, MODEL, spend_until=until)):
            with pytest.raises(BudgetReached, match="BACKFILL_MAX_COST_USD"):
                budget.reserve(11)
            budget.reserve(5)
            budget.count(budget.record(connection, 5))


def test_an_answer_whose_transaction_failed_is_not_counted(tmp_path: Path, fresh_database_url: str) -> None:
    pipeline = opened(tmp_path, fresh_database_url, max_cost_usd=10.0, max_cost_usd_per_day=10.0)
    with pipeline.database.connect() as connection:
        budget = Budget.open(pipeline, MODEL)
        budget.reserve(4)
        with suppress(DatabaseUnavailable), connection.transaction():
            budget.record(connection, 8, reserved=4)
            raise DatabaseUnavailable("gone at the commit")
        assert budget.spent_in_run == 0.0
        with connection.transaction():
            cost = budget.record(connection, 8, reserved=4)
        budget.count(cost)
        assert (budget.spent_in_run, budget.reserved) == (8.0, 8.0)
        budget.reserve(2)
