"""The stage `token_batches` as a plain function: each distinct text without a vector once, packed under the limits."""

from __future__ import annotations

from itertools import groupby

import pytest

from vector_pipeline.embedding.requests import RequestLimits
from vector_pipeline.pipeline.model import Target
from vector_pipeline.stages.streams import ChunkRow, PlannedText
from vector_pipeline.stages.token_batches import LOOKUP, PlanOutcome, plan
from vector_pipeline.store.connection import Database
from vector_pipeline.store.spaces import start_space
from vector_pipeline_tests.support.corpus import embed, hash_of, key_of, space_of

UNKNOWN = Target("new-model", None)


def chunk(text: str, tokens: int = 10) -> ChunkRow:
    return ChunkRow(key_of("a"), "a", "1", "utf-8", "a", text, "{}", 0, 0, len(text), tokens, hash_of(text))


def planned(
    database: Database,
    chunks: list[ChunkRow],
    targets: list[Target],
    limits: RequestLimits | None = None,
    lookup: int = LOOKUP,
) -> tuple[list[PlannedText], PlanOutcome]:
    outcome = PlanOutcome()
    return list(plan(database, chunks, targets, limits or RequestLimits(), outcome, lookup=lookup)), outcome


def test_a_text_is_planned_once_however_many_chunks_have_it(database: Database) -> None:
    texts, outcome = planned(database, [chunk("a"), chunk("b"), chunk("a"), chunk("a")], [UNKNOWN])
    assert [text.text for text in texts] == ["a", "b"]
    assert (outcome.chunks, outcome.texts, outcome.reused_chunks) == (4, 2, 2)
    assert (outcome.tokens, outcome.reused_tokens) == (20, 20)


def test_a_text_that_has_its_vector_is_not_planned(database: Database) -> None:
    with database.connect() as connection:
        space = space_of(connection)
        embed(connection, ["a"])
    texts, outcome = planned(database, [chunk("a"), chunk("b")], [Target(space.model, space)])
    assert [(text.text, text.space) for text in texts] == [("b", space.name)]
    assert outcome.reused_chunks == 1


def test_a_text_is_planned_for_each_space_that_lacks_it(database: Database) -> None:
    with database.connect() as connection:
        active = space_of(connection)
        embed(connection, ["a"])
        filling = start_space(connection, "other-model", 8)
    targets = [Target(active.model, active), Target(filling.model, filling)]
    texts, outcome = planned(database, [chunk("a"), chunk("b")], targets)
    assert {(text.text, text.space) for text in texts} == {
        ("b", active.name),
        ("a", filling.name),
        ("b", filling.name),
    }
    assert outcome.requests == len({(text.batch, text.space) for text in texts})


def test_a_chunk_is_reused_if_no_space_lacks_its_text(database: Database) -> None:
    with database.connect() as connection:
        active = space_of(connection)
        embed(connection, ["a", "b"])
        filling = start_space(connection, "other-model", 8)
    targets = [Target(active.model, active), Target(filling.model, filling)]
    _, outcome = planned(database, [chunk("a"), chunk("b"), chunk("a")], targets)
    assert (outcome.chunks, outcome.reused_chunks, outcome.reused_tokens) == (3, 1, 10)


@pytest.mark.parametrize("lookup", [1, 3, 2_000])
def test_requests_hold_the_limits_in_the_order_of_the_text(database: Database, lookup: int) -> None:
    chunks = [chunk(f"text {n}", tokens=n + 1) for n in range(20)]
    texts, outcome = planned(database, chunks, [UNKNOWN], RequestLimits(max_inputs=4, max_weight=40), lookup)
    assert [text.text for text in texts] == [row.text for row in chunks]
    requests = [list(group) for _, group in groupby(texts, key=lambda text: text.batch)]
    assert len(requests) == outcome.requests
    assert all(len(request) <= 4 and sum(text.token_count for text in request) <= 40 for request in requests)
