"""A plan through the Batch API, run after run, on a real database and a real server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vector_pipeline.embedding.client import EmbeddingInput
from vector_pipeline.embedding.roles import Role, Roles
from vector_pipeline.errors import ProviderUnavailable
from vector_pipeline.pipeline.model import client_config
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.stages.embeddings.batches import BatchOutcome, embed_in_batches
from vector_pipeline.stages.embeddings.budget import usd_out_in_batches
from vector_pipeline.stages.embeddings.plan import embed_plan
from vector_pipeline.stages.streams import PlannedText
from vector_pipeline.store.shared.batches import PostgresBatchLedger
from vector_pipeline.store.shared.spending import spent_today
from vector_pipeline.store.space import Space
from vector_pipeline.store.spaces import open_space, start_space
from vector_pipeline.store.vectors import missing
from vector_pipeline_tests.support.asking import config, many
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve


@contextmanager
def opened(tmp_path: Path, url: str, server: RunningServer, **values: Any) -> Iterator[tuple[Pipeline, Space]]:
    settings = Settings.of(
        home=tmp_path, database_url=url, openai_base_url=server.url, openai_api_key="sk-test", **values
    )
    with open_pipeline(settings) as pipeline, pipeline.database.connect() as connection:
        yield pipeline, open_space(connection, "text-embedding-3-small", 1_536)


def planned(inputs: list[EmbeddingInput], space: Space) -> list[PlannedText]:
    return [PlannedText(1, space.name, i.content_hash, i.text, i.tokens) for i in inputs]


def run(pipeline: Pipeline, space: Space, server: RunningServer, inputs: list[EmbeddingInput]) -> BatchOutcome:
    return embed_in_batches(pipeline, space, planned(inputs, space), config(server))


def left(pipeline: Pipeline, space: Space, inputs: list[EmbeddingInput]) -> int:
    with pipeline.database.connect() as connection:
        return len(missing(connection, space, [i.content_hash for i in inputs]))


def test_a_batch_has_the_prefix_of_its_space(tmp_path: Path, fresh_database_url: str) -> None:
    inputs = many(3)
    settings = {"document_prefix": "passage: ", "embedding_mode": "batch"}
    with serve() as server, opened(tmp_path, fresh_database_url, server) as (pipeline, plain):
        with pipeline.database.connect() as connection:
            space = start_space(connection, plain.model, 1_536, Roles(document=Role("passage: ")))
        assert space.name != plain.name
        with open_pipeline(pipeline.settings.model_copy(update=settings)) as in_batches:
            for _ in range(2):
                embed_plan(in_batches, planned(inputs, space), client_config(in_batches.settings))
        assert server.seen.billed == Counter(f"passage: {i.text}" for i in inputs)
        assert left(pipeline, space, inputs) == 0
        assert left(pipeline, plain, inputs) == 3


def test_one_run_submits_and_the_next_stores_what_came_back(tmp_path: Path, fresh_database_url: str) -> None:
    inputs = many(200)
    with serve() as server, opened(tmp_path, fresh_database_url, server) as (pipeline, space):
        first = run(pipeline, space, server, inputs)
        assert (first.submitted.inputs, first.stored, first.out) == (200, 0, 200)
        second = run(pipeline, space, server, inputs)
        assert (second.submitted.inputs, second.stored, second.out) == (0, 200, 0)
        assert left(pipeline, space, inputs) == 0
        with pipeline.database.connect() as connection:
            assert spent_today(connection) == pytest.approx(server.seen.tokens * 0.01 / 1_000_000)


def test_what_is_out_is_not_submitted_again(tmp_path: Path, fresh_database_url: str) -> None:
    with (
        serve(ServerConfig(batch_seconds=3_600)) as server,
        opened(tmp_path, fresh_database_url, server) as (pipeline, space),
    ):
        run(pipeline, space, server, many(50))
        again = run(pipeline, space, server, many(60))
        assert (again.submitted.inputs, again.out) == (10, 60)
        assert again.harvested.out == 1


def test_what_the_api_refused_within_a_batch_goes_the_ordinary_way(tmp_path: Path, fresh_database_url: str) -> None:
    inputs = many(300)
    with (
        serve(ServerConfig(bad_word="number 5 ")) as server,
        opened(tmp_path, fresh_database_url, server) as (pipeline, space),
    ):
        run(pipeline, space, server, inputs)
        second = run(pipeline, space, server, inputs)
        assert second.submitted.inputs == 0
        assert inputs[5].content_hash in {text.content_hash for text in second.singly}
        assert len(second.singly) == left(pipeline, space, inputs) > 0


def test_a_budget_submits_what_it_allows_at_half_the_price(tmp_path: Path, fresh_database_url: str) -> None:
    inputs = many(100)
    half = sum(i.tokens for i in inputs) / 2 * 0.01 / 1_000_000
    with (
        serve() as server,
        opened(tmp_path, fresh_database_url, server, max_cost_usd=half * 1.001) as (pipeline, space),
    ):
        result = run(pipeline, space, server, inputs)
        assert result.submitted.inputs == 50
        assert result.stopped is not None
        assert "VECTOR_PIPELINE_MAX_COST_USD" in result.stopped


def test_what_comes_in_counts_for_the_day_that_it_comes_in_on(tmp_path: Path, fresh_database_url: str) -> None:
    inputs = many(150)
    cent = sum(i.tokens for i in inputs[:100]) * 0.01 / 1_000_000
    with (
        serve() as server,
        opened(tmp_path, fresh_database_url, server, max_cost_usd_per_day=cent * 1.001) as (pipeline, space),
    ):
        assert run(pipeline, space, server, inputs[:80]).submitted.inputs == 80
        second = run(pipeline, space, server, inputs)
        assert (second.stored, second.submitted.inputs) == (80, 20)


def test_a_harvest_that_was_cut_off_is_repeated_without_counting_the_money_again(
    tmp_path: Path, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = many(200)

    def cut_off(*_: object) -> None:
        raise ProviderUnavailable("killed before the ledger knew")

    with serve() as server, opened(tmp_path, fresh_database_url, server) as (pipeline, space):
        run(pipeline, space, server, inputs)
        with monkeypatch.context() as patched:
            patched.setattr(PostgresBatchLedger, "finished", cut_off)
            with pytest.raises(ProviderUnavailable):
                run(pipeline, space, server, inputs)
        assert run(pipeline, space, server, inputs).harvested.inputs == 200
        with pipeline.database.connect() as connection:
            assert spent_today(connection) == pytest.approx(server.seen.tokens * 0.01 / 1_000_000)


def test_a_run_that_submits_to_two_spaces_keeps_to_its_budget(tmp_path: Path, fresh_database_url: str) -> None:
    inputs = many(100)
    cost = sum(i.tokens for i in inputs) * 0.01 / 1_000_000
    with (
        serve(ServerConfig(batch_seconds=3_600)) as server,
        opened(
            tmp_path, fresh_database_url, server, max_cost_usd=cost * 1.5, embedding_mode="batch", dimensions=1_536
        ) as (pipeline, space),
    ):
        with pipeline.database.connect() as connection:
            other = start_space(connection, "text-embedding-3-small", 256)
        plan = [*planned(inputs, space), *planned(inputs, other)]
        stopped = embed_plan(pipeline, plan, client_config(pipeline.settings)).stopped
        assert stopped is not None
        assert "VECTOR_PIPELINE_MAX_COST_USD" in stopped
        with pipeline.database.connect() as connection:
            assert usd_out_in_batches(connection, pipeline) == pytest.approx(cost * 1.5, rel=0.02)
