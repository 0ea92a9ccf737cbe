"""A plan is embedded: each text is paid for once, whoever else wants it, and the result says what was not sent."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vector_pipeline.embedding.client import EmbeddingInput
from vector_pipeline.errors import ConfigurationError, QuotaExhausted
from vector_pipeline.pipeline.model import client_config, targets
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.embeddings.plan import EmbedResult, embed_plan
from vector_pipeline.stages.streams import PlannedText
from vector_pipeline.store import vectors
from vector_pipeline.store.space import list_spaces
from vector_pipeline.store.spaces import start_space
from vector_pipeline_tests.support.asking import inputs, many
from vector_pipeline_tests.support.openai_server import ServerConfig, serve
from vector_pipeline_tests.support.plans import billed, embed, missing, opened


@pytest.mark.slow
def test_a_plan_is_sent_in_its_requests_without_the_texts_that_have_a_vector(
    tmp_path: Path, fresh_database_url: str
) -> None:
    asked = many(30)
    with serve() as server, opened(tmp_path, fresh_database_url, server) as pipeline:
        assert embed(pipeline, asked[5:8]).stored == 3
        result = embed(pipeline, asked, per_request=10)
        assert missing(pipeline, asked) == 0
        assert (result.stored, result.stored_meanwhile, result.usage.inputs) == (27, 3, 27)
        assert sorted(server.seen.inputs_per_request) == [3, 7, 10, 10]
        assert embed(pipeline, asked).usage.requests == 0


def test_while_a_second_space_fills_its_texts_go_into_both(tmp_path: Path, fresh_database_url: str) -> None:
    asked = many(4)
    with (
        serve(ServerConfig(other_models=("text-embedding-3-large",))) as server,
        opened(tmp_path, fresh_database_url, server) as pipeline,
    ):
        embed(pipeline, asked[:1])
        with pipeline.database.connect() as connection:
            start_space(connection, "text-embedding-3-large", 1_536)
            spaces = list_spaces(connection)
            hashes = [i.content_hash for i in asked]
            plan = [
                PlannedText(number, space.name, i.content_hash, i.text, i.tokens)
                for number, space in enumerate(spaces)
                for i in asked
            ]
            result = embed_plan(pipeline, iter(plan), client_config(pipeline.settings))
            assert (result.stored, result.stored_meanwhile) == (7, 1)
            assert [vectors.missing(connection, space, hashes) for space in spaces] == [set(), set()]


def test_a_budget_that_is_reached_is_no_error_and_the_next_run_sends_the_rest(
    tmp_path: Path, fresh_database_url: str
) -> None:
    asked = many(6)
    dollars = float(sum(i.tokens for i in asked[:4]))
    with (
        serve() as server,
        opened(
            tmp_path, fresh_database_url, server, usd_per_million_tokens=1_000_000.0, max_cost_usd=dollars
        ) as pipeline,
    ):
        lines: list[str] = []
        with pipeline.database.connect() as connection:
            (target,) = targets(connection, pipeline.settings)
        plan = [PlannedText(number, target.name, i.content_hash, i.text, i.tokens) for number, i in enumerate(asked)]
        first = embed_plan(pipeline, plan, client_config(pipeline.settings), log=lines.append)
        assert (first.stored, first.usd) == (4, dollars)
        assert first.stopped is not None
        assert "VECTOR_PIPELINE_MAX_COST_USD" in first.stopped
        assert first.stopped in lines
        second = embed(pipeline, asked, per_request=1)
        assert (second.stored, second.stopped) == (2, None)
    assert billed(server) == 6


def test_a_result_that_the_caller_gave_says_what_was_paid_before_an_error(
    tmp_path: Path, fresh_database_url: str
) -> None:
    result = EmbedResult()
    with (
        serve(ServerConfig(quota_after=3)) as server,
        opened(tmp_path, fresh_database_url, server, max_in_flight=1) as pipeline,
    ):
        with pytest.raises(QuotaExhausted):
            embed(pipeline, many(6), per_request=1, result=result)
        assert missing(pipeline, many(6)) == 3
    assert (result.stored, result.usage.inputs, billed(server)) == (3, 3, 3)
    assert result.seconds > 0


@pytest.mark.slow
def test_two_runs_that_want_the_same_texts_pay_for_them_once(tmp_path: Path, fresh_database_url: str) -> None:
    asked = many(200)
    start = threading.Barrier(2)

    def run(pipeline: Pipeline, wanted: list[EmbeddingInput]) -> EmbedResult:
        start.wait()
        return embed(pipeline, wanted)

    with (
        serve(ServerConfig(latency=0.2)) as server,
        opened(tmp_path, fresh_database_url, server) as pipeline,
        ThreadPoolExecutor(2) as pool,
    ):
        runs = [pool.submit(run, pipeline, wanted) for wanted in (asked, asked[::-1])]
        results = [run.result() for run in runs]
        assert missing(pipeline, asked) == 0
        assert billed(server) == 200
        assert sum(result.stored for result in results) == 200


@pytest.mark.slow
def test_a_plan_made_before_a_model_had_a_space_is_sent_once_another_run_made_it(
    tmp_path: Path, fresh_database_url: str
) -> None:
    model = "somebodys/own-model"
    with (
        serve(ServerConfig(model=model)) as server,
        opened(tmp_path, fresh_database_url, server, model=model) as pipeline,
    ):
        embed(pipeline, many(5))
        later = many(5, start=5)
        plan = [PlannedText(0, model, i.content_hash, i.text, i.tokens) for i in later]
        assert embed_plan(pipeline, plan, client_config(pipeline.settings)).stored == 5
        assert missing(pipeline, later) == 0


def test_a_model_of_too_many_dimensions_is_refused_for_the_price_of_one_text(
    tmp_path: Path, fresh_database_url: str
) -> None:
    model = "somebodys/wide-model"
    with (
        serve(ServerConfig(model=model, dimensions=4_096)) as server,
        opened(tmp_path, fresh_database_url, server, model=model) as pipeline,
    ):
        with pytest.raises(ConfigurationError, match="4,096"):
            embed(pipeline, many(60))
        assert billed(server) == 1


def test_only_the_first_text_of_an_unknown_model_is_not_sent_in_a_batch(tmp_path: Path, fresh_database_url: str) -> None:
    model = "somebodys/own-model"
    with (
        serve(ServerConfig(model=model, batch_seconds=3_600)) as server,
        opened(tmp_path, fresh_database_url, server, model=model, embedding_mode="batch") as pipeline,
    ):
        result = embed(pipeline, many(60))
        assert (billed(server), result.stored) == (1, 1)
        assert result.stopped == "59 texts wait for answers of batches; a later run loads their files"


@pytest.mark.slow
def test_a_text_that_was_refused_before_there_was_a_space_is_not_sent_again(
    tmp_path: Path, fresh_database_url: str
) -> None:
    model = "somebodys/own-model"
    asked = [*inputs("a cursed text"), *many(20)]
    with (
        serve(ServerConfig(model=model, bad_word="cursed")) as server,
        opened(tmp_path, fresh_database_url, server, model=model) as pipeline,
    ):
        first = embed(pipeline, asked)
        assert (first.stored, list(first.rejected)) == (20, [asked[0].content_hash.hex()])
        requests = server.seen.requests
        embed(pipeline, asked)
        assert server.seen.requests == requests
