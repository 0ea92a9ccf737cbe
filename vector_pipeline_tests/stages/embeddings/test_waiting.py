"""A wait is heard, and not every second."""

from __future__ import annotations

import asyncio

import pytest

from vector_pipeline.embedding.pacing.limits import Limits
from vector_pipeline.stages.embeddings.waiting import Rarely, Waiting
from vector_pipeline.store.connection import Database
from vector_pipeline.store.shared.pacing import PostgresPacer, why_no_answer
from vector_pipeline_tests.support.dev import wait_for


def test_lines_come_less_and_less_often() -> None:
    now = 0.0

    def clock() -> float:
        return now

    rarely = Rarely(clock=clock)
    due = []
    for second in range(1, 2_500):
        now = float(second)
        if rarely.is_due():
            due.append(second)
    assert due == [10, 20, 40, 80, 160, 320, 640, 1_240, 1_840, 2_440]
    rarely.restart()
    now += 9.0
    assert not rarely.is_due()
    now += 1.0
    assert rarely.is_due()


@pytest.mark.slow
def test_nothing_is_said_while_answers_come_and_the_reason_when_none_does() -> None:
    lines: list[str] = []
    with Waiting(lines.append, lambda: "the account asked to wait", first_seconds=0.4) as waiting:
        for _ in range(10):
            waiting.answered()
        assert lines == []
        wait_for(lambda: len(lines) >= 2, 10)
    assert all(line.endswith(" s: the account asked to wait") for line in lines)


def test_the_reason_is_what_the_account_s_shared_state_says(database: Database) -> None:
    pacer = PostgresPacer(database, "account", Limits(1_000, 10, None))

    async def pause() -> None:
        await pacer.pause(40.0)
        await pacer.close()

    assert why_no_answer(database, "account") == "the first request is under way"
    asyncio.run(pause())
    assert why_no_answer(database, "account").startswith("the API asked the account to wait (429), for another ")
    assert "Postgres is away" in why_no_answer(Database("postgresql://nobody@127.0.0.1:9/texts"), "account")
