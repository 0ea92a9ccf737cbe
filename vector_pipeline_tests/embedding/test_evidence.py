"""Texts that a server refuses by asking to wait, and servers and accounts that only are under load."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from vector_pipeline.embedding.client import EmbeddingClient
from vector_pipeline.embedding.pacing.pacer import LocalPacer
from vector_pipeline.errors import ProviderRefused, ProviderUnavailable
from vector_pipeline_tests.support.asking import assert_right, config, embed, embed_batches, inputs, many
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve
from vector_pipeline_tests.support.openai_server.config import Poison

BAD = "a text full of poison"


@pytest.mark.slow
@pytest.mark.parametrize("poison", ["503 and wait", "429 and wait", "429"])
def test_a_text_that_is_always_asked_to_wait_is_rejected_and_the_others_are_embedded(poison: Poison) -> None:
    bad = inputs(BAD)
    with serve(ServerConfig(poison_word="poison", poison=poison)) as server:
        answers, usage = embed_batches(server, [many(6), [*many(2, 6), *bad], many(6, 8)], retry_seconds=60.0)
        assert server.seen.requests <= 50
        twice = {text for text, times in server.seen.billed.items() if times > 1}
        assert all(set(text.split()) == {"word"} for text in twice), "controls, and none of the texts"
    assert [key for answer in answers for key in answer.rejected] == [bad[0].content_hash]
    (reason,) = [reason for answer in answers for reason in answer.rejected.values()]
    assert f"Sorry, {poison[:3]}" in reason
    assert "while others are answered" in reason
    assert sum(len(answer.inputs) for answer in answers) == usage.inputs == 14


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_a_server_that_sheds_load_rejects_no_text_and_gets_no_storm_of_requests(share: float) -> None:
    with serve(ServerConfig(faults={"503": share}, seed=11)) as server:
        answers, _ = embed_batches(server, [many(8, n * 8) for n in range(30)], retry_seconds=60.0, max_in_flight=8)
        # Without any split or control it takes this many on average.
        assert server.seen.requests < 2 * 30 / (1 - share)
    assert sum(len(answer.inputs) for answer in answers) == 240
    assert not [key for answer in answers for key in answer.rejected]


@pytest.mark.slow
def test_an_account_that_another_program_uses_up_rejects_no_text() -> None:
    """The other program takes what refills, so that requests of ours pass only now and then, and small ones rather."""
    limits = ServerConfig(tokens_per_minute=6_000, bucket_seconds=3, sends_headers=False)
    asked = [many(8, n * 8) for n in range(6)]
    with serve(limits) as server, ThreadPoolExecutor(1) as pool:
        ended = threading.Event()
        other = pool.submit(_use_up, server, ended)
        try:
            answers, _ = embed_batches(server, asked, retry_seconds=60.0, max_in_flight=4)
        finally:
            ended.set()
        assert other.result() > 0
        assert server.seen.statuses[429] > 0
    assert sum(len(answer.inputs) for answer in answers) == 48
    assert not [key for answer in answers for key in answer.rejected]


def _use_up(server: RunningServer, ended: threading.Event) -> int:
    """Send requests for most of the account's tokens until the test ends; returns the number that passed."""
    passed = 0
    body = {"model": "text-embedding-3-small", "input": ["word " * 40]}
    while not ended.wait(0.3):
        passed += httpx2.post(f"{server.url}/embeddings", json=body).status_code == 200
    return passed


def test_a_server_under_full_load_is_asked_with_the_same_request_until_the_time_is_over() -> None:
    with serve(ServerConfig(faults={"503": 1.0})) as server:
        with pytest.raises(ProviderUnavailable, match="503 Service Unavailable"):
            embed(server, many(8), retry_seconds=2.0)
        assert set(server.seen.inputs_per_request) == {1, 8}, "the request as it is, and single words"
        assert server.seen.inputs_per_request.count(1) <= server.seen.inputs_per_request.count(8)


@pytest.mark.parametrize(("status", "advice"), [(401, "OPENAI_API_KEY"), (404, "VECTOR_PIPELINE_MODEL")])
def test_a_refusal_that_concerns_every_text_ends_the_run_after_one_word(status: int, advice: str) -> None:
    with serve(ServerConfig(refuses=(status, {"error": "no"}))) as server:
        with pytest.raises(ProviderRefused, match=advice):
            embed(server, many(40))
        assert server.seen.requests == 2


def test_a_model_that_does_not_exist_is_refused_at_once() -> None:
    with serve() as server:
        with pytest.raises(ProviderRefused, match="does not exist"):
            embed(server, many(40), model="own", dimensions=None)
        assert server.seen.requests == 1


def test_one_text_that_is_too_large_for_a_gateway_does_not_make_later_requests_small() -> None:
    with serve(ServerConfig(poison_word="poison", poison="413")) as server:

        async def main() -> None:
            async with EmbeddingClient(config(server), LocalPacer()) as client:
                answer = await client.embed([*many(31), *inputs(BAD)])
                assert len(answer.rejected) == 1
                before = server.seen.requests
                assert_right(await client.embed(many(32, 32)))
                assert server.seen.requests == before + 1

        asyncio.run(main())
