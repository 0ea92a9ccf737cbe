"""What was spent today, across connections."""

from __future__ import annotations

import pytest

from vector_pipeline.store.connection import Database
from vector_pipeline.store.shared import spending


def test_nothing_was_spent_at_first(database: Database) -> None:
    with database.connect() as connection:
        assert spending.spent_today(connection) == 0.0


def test_spending_adds_up_over_models_and_connections(database: Database) -> None:
    with database.connect() as one, database.connect() as other:
        spending.record(one, "small", 0.25, 1_000)
        spending.record(other, "small", 0.5, 2_000)
        spending.record(other, "large", 1.0, 3_000)
        assert spending.spent_today(one) == pytest.approx(1.75)


def test_another_day_does_not_count(database: Database) -> None:
    with database.connect() as connection:
        spending.record(connection, "small", 0.25, 1_000)
        connection.execute("UPDATE vector_pipeline_shared.spending SET day = day - 1")
        spending.record(connection, "small", 1.0, 4_000)
        assert spending.spent_today(connection) == pytest.approx(1.0)


@pytest.mark.slow
def test_the_day_is_utcs_whatever_the_sessions_zone(database: Database) -> None:
    with database.connect() as connection:
        for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
            connection.execute(f"SET timezone = '{zone}'")
            spending.record(connection, "small", 1.0, 1)
        days = connection.execute("SELECT count(DISTINCT day) FROM vector_pipeline_shared.spending").fetchone()
    assert days == (1,)
