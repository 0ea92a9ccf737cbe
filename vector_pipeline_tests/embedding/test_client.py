"""The client against a real server: what each kind of answer leads to."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import SecretStr

from vector_pipeline.embedding import flow
from vector_pipeline.embedding.batch.api import open_api
from vector_pipeline.embedding.client import Answer, EmbeddingClient, EmbeddingInput
from vector_pipeline.embedding.flow import MAX_UNDELIVERED
from vector_pipeline.embedding.pacing.clock import Clock
from vector_pipeline.embedding.pacing.pacer import LocalPacer
from vector_pipeline.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    QuotaExhausted,
)
from vector_pipeline_tests.support.asking import KEY, assert_right, config, embed, embed_batches, inputs, many
from vector_pipeline_tests.support.openai_server import Fault, RunningServer, ServerConfig, serve
from vector_pipeline_tests.support.openai_server.config import Poison


def test_vectors_come_in_the_order_of_the_texts_however_the_server_orders_them() -> None:
    with serve(ServerConfig(shuffled=True)) as server:
        answer = embed(server, many(50))
    assert list(answer.inputs) == many(50)
    assert_right(answer)


def test_tokens_are_those_that_the_api_bills() -> None:
    with serve() as server:
        answer = embed(server, many(10))
        assert answer.tokens == server.seen.tokens
    assert answer.model == "text-embedding-3-small"


@pytest.mark.parametrize("spelling", ["ignored", "refused"])
def test_a_server_without_base64_is_asked_for_numbers_from_then_on(spelling: Any) -> None:
    with serve(ServerConfig(base64=spelling)) as server:
        answers, usage = embed_batches(server, [many(5), many(5, 5), many(5, 10)], max_in_flight=1)
    assert sum(len(answer.inputs) for answer in answers) == 15
    for answer in answers:
        assert_right(answer)
    assert usage.retries == (1 if spelling == "refused" else 0)


def test_dimensions_are_sent_only_where_they_differ_from_the_models_own() -> None:
    with serve(ServerConfig(takes_dimensions=False)) as server:
        assert_right(embed(server, many(2), dimensions=1_536))
    with serve() as server:
        assert_right(embed(server, many(2), dimensions=256), 256)


def test_an_unknown_model_that_takes_no_dimensions_is_asked_without() -> None:
    with serve(ServerConfig(model="own", dimensions=64, takes_dimensions=False, style="vllm")) as server:
        answers, _ = embed_batches(server, [many(2), many(2, 2)], model="own", dimensions=64)
        assert sum(len(answer.inputs) for answer in answers) == 4
        with pytest.raises(ProviderRefused, match="64 dimensions, 128"):
            embed(server, many(2), model="own", dimensions=128)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "reset", "429", "truncated", "missing", "extra", "nan", "twice"])
def test_a_spoilt_answer_is_asked_for_again(fault: Fault) -> None:
    with serve(ServerConfig(faults={fault: 0.2}, seed=3)) as server:
        answers, usage = embed_batches(server, [many(4, n * 4) for n in range(20)])
        assert server.seen.faults[fault] > 0
        assert server.seen.paid_twice == 0
    assert sorted(i.text for a in answers for i in a.inputs) == sorted(i.text for i in many(80))
    for answer in answers:
        assert_right(answer)
    assert usage.requests > 20


@pytest.mark.slow
def test_a_request_that_hangs_is_sent_again_after_the_timeout() -> None:
    with serve(ServerConfig(faults={"hang": 0.25}, hang_seconds=20, seed=2)) as server:
        answers, _ = embed_batches(server, [many(2, n * 2) for n in range(6)], timeout_seconds=0.5)
        assert server.seen.faults["hang"] > 0
    assert sum(len(answer.inputs) for answer in answers) == 12


@pytest.mark.slow
def test_with_every_fault_at_once_all_vectors_are_right_and_only_lost_answers_are_paid_again() -> None:
    faults: dict[Fault, float] = {"500": 0.05, "reset": 0.05, "hang": 0.05, "429": 0.05, "truncated": 0.05}
    with serve(ServerConfig(faults=faults, hang_seconds=20, latency=0.01)) as server:
        answers, _ = embed_batches(server, [many(20, n * 20) for n in range(60)], timeout_seconds=0.5)
        assert all(server.seen.faults[fault] for fault in faults)
        assert server.seen.paid_twice == 0
    assert len({i.text for a in answers for i in a.inputs}) == 1_200
    for answer in answers:
        assert_right(answer)


def test_a_transient_failure_ends_with_the_budget_of_time() -> None:
    with serve(ServerConfig(faults={"500": 1.0})) as server:
        began = time.monotonic()
        with pytest.raises(ProviderUnavailable, match="502"):
            embed(server, many(2), retry_seconds=1.0)
        assert time.monotonic() - began < 3
        assert server.seen.requests > 1


def test_nobody_listening_is_a_transient_failure() -> None:
    with serve() as server:
        pass
    with pytest.raises(ProviderUnavailable, match="connection lost"):
        embed(server, many(2), retry_seconds=0.6)


QUOTAS: list[tuple[str, dict[str, Any]]] = [
    (
        "type and code",
        {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"},
    ),
    (
        "type only",
        {
            "message": "You have no credits remaining",
            "type": "insufficient_quota",
            "code": "credit_balance_exhausted",
        },
    ),
    ("code only", {"message": "No.", "type": "requests", "code": "insufficient_quota"}),
    (
        "message only",
        {"message": "You exceeded your current quota, please check your plan.", "type": None, "code": None},
    ),
]


@pytest.mark.parametrize("body", [body for _, body in QUOTAS], ids=[name for name, _ in QUOTAS])
def test_no_quota_stops_at_once(body: dict[str, Any]) -> None:
    with serve(ServerConfig(refuses=(429, {"error": body}))) as server:
        with pytest.raises(QuotaExhausted, match="billing"):
            embed(server, many(2))
        assert server.seen.requests == 1


HOPELESS: list[tuple[int, dict[str, Any], str]] = [
    (401, {"message": "Incorrect API key provided: sk-no.", "code": "invalid_api_key"}, "OPENAI_API_KEY"),
    (403, {"message": "Country not supported"}, "right"),
    (404, {"message": "The model does not exist", "code": "model_not_found"}, "VECTOR_PIPELINE_MODEL"),
    (400, {"message": "Unrecognized request argument"}, "Unrecognized"),
]


@pytest.mark.parametrize(("status", "body", "says"), HOPELESS, ids=[str(status) for status, _, _ in HOPELESS])
def test_what_is_hopeless_is_not_tried_again(status: int, body: dict[str, Any], says: str) -> None:
    with serve(ServerConfig(refuses=(status, {"error": body}))) as server:
        with pytest.raises(ProviderRefused, match=says) as caught:
            embed(server, many(2))
        # A word tells whether it is refused for what a text says.
        assert server.seen.requests == (2 if status in (400, 403) else 1)
    assert KEY not in str(caught.value)


def test_other_dimensions_than_the_space_has_are_hopeless() -> None:
    with serve(ServerConfig(dimensions=8)) as server:
        with pytest.raises(ProviderRefused, match="8 dimensions, 1,536 were expected"):
            embed(server, many(2))
        assert server.seen.requests == 1


def test_one_text_that_is_too_long_is_rejected_by_name_and_the_others_are_embedded() -> None:
    asked = [*many(5), *inputs("the long one " * 4_000), *many(5, 5)]
    with serve() as server:
        answer = embed(server, asked)
        assert server.seen.requests == 3, "the message names the text, so it is not searched for"
    assert list(answer.rejected) == [asked[5].content_hash]
    assert "the long one" in answer.rejected[asked[5].content_hash]
    assert list(answer.inputs) == many(10)
    assert_right(answer)


def test_a_bad_text_that_nobody_names_is_found_by_halves() -> None:
    asked = [*many(20), *inputs("a cursed text"), *many(20, 20)]
    with serve(ServerConfig(bad_word="cursed")) as server:
        answer = embed(server, asked)
        assert server.seen.requests <= 13
        assert server.seen.paid_twice == 0
    assert list(answer.rejected) == [asked[20].content_hash]
    assert list(answer.inputs) == many(40)
    assert_right(answer)


@pytest.mark.parametrize(
    "limits",
    [
        ServerConfig(max_inputs=8),
        ServerConfig(max_inputs=8, style="tei"),
        ServerConfig(max_tokens_per_request=90),
        ServerConfig(max_tokens_per_request=90, request_gate="bytes/4"),
    ],
    ids=["inputs", "inputs of TEI", "tokens", "bytes"],
)
def test_a_request_that_is_too_large_is_split(limits: ServerConfig) -> None:
    with serve(limits) as server:
        answer = embed(server, many(60))
        assert server.seen.paid_twice == 0
    assert list(answer.inputs) == many(60)
    assert_right(answer)


@pytest.mark.slow
def test_a_request_of_more_than_a_minutes_tokens_is_split_and_not_tried_for_ever() -> None:
    asked = inputs(*(f"{n} " + "word " * 2_000 for n in range(16)))
    with serve(ServerConfig(tokens_per_minute=31_000)) as server:
        answer = embed(server, asked)
        assert server.seen.requests <= 5
    assert list(answer.inputs) == asked


def test_a_text_that_the_account_may_never_send_is_hopeless() -> None:
    with serve(ServerConfig(tokens_per_minute=1_000)) as server:
        with pytest.raises(ProviderRefused, match="CHUNK_TOKENS"):
            embed(server, inputs("word " * 2_000))
        assert server.seen.requests == 1


def test_how_much_a_server_takes_at_once_is_found_out_once() -> None:
    with serve(ServerConfig(max_inputs=32, style="tei", sends_headers=False)) as server:
        answers, _ = embed_batches(server, [many(200, n * 200) for n in range(10)], max_in_flight=1)
        assert sum(len(answer.inputs) for answer in answers) == 2_000
        assert server.seen.statuses[413] <= 4
        assert server.seen.requests <= 100


@pytest.mark.parametrize("style", ["vllm", "tei", "ollama"])
def test_too_long_a_text_is_found_in_the_spellings_of_other_servers(style: Any) -> None:
    asked = [*many(6), *inputs("word " * 600)]
    with serve(ServerConfig(style=style, max_tokens_per_input=512)) as server:
        answer = embed(server, asked)
    assert list(answer.rejected) == [asked[6].content_hash]
    assert list(answer.inputs) == many(6)


def test_after_a_hopeless_answer_what_is_under_way_is_still_delivered() -> None:
    with serve(ServerConfig(quota_after=5, latency=0.2)) as server:
        delivered: list[Answer] = []

        async def keep(answer: Answer) -> None:
            delivered.append(answer)

        with pytest.raises(QuotaExhausted):
            embed_batches(server, (many(3, n * 3) for n in range(1_000)), keep)
        assert len(delivered) == 5
        assert server.seen.requests < 40


def test_every_answer_that_was_paid_is_handed_over_also_after_one_was_not_taken() -> None:
    offered: list[Answer] = []

    async def fail(answer: Answer) -> None:
        offered.append(answer)
        if len(offered) > 4:
            raise DatabaseUnavailable("Postgres is away")

    with serve(ServerConfig(latency=0.1)) as server:
        with pytest.raises(DatabaseUnavailable):
            embed_batches(server, (many(2, n * 2) for n in range(1_000)), fail)
        assert sum(len(answer.inputs) for answer in offered) == len(server.seen.billed)
        assert 5 <= len(offered) < 1_000


def test_the_budget_of_time_is_the_clocks() -> None:
    """Ten minutes of a server that is down, in the time that its answers take."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    clock = Clock(now=lambda: sum(waited), sleep=sleep)

    async def main(server: RunningServer) -> None:
        async with EmbeddingClient(config(server, retry_seconds=600.0), LocalPacer(clock=clock), clock=clock) as client:
            await client.embed(many(2))

    with serve(ServerConfig(faults={"500": 1.0})) as server, pytest.raises(ProviderUnavailable, match="within 600 s"):
        asyncio.run(main(server))
    assert 560 < sum(waited) <= 600


def test_a_bad_text_in_a_split_request_loses_no_part_that_was_paid() -> None:
    """The first half is paid, then the account runs dry: the half must have been delivered."""
    with serve(ServerConfig(max_inputs=2, quota_after=3)) as server:
        delivered: list[Answer] = []

        async def keep(answer: Answer) -> None:
            delivered.append(answer)

        with pytest.raises(QuotaExhausted):
            embed_batches(server, [many(8)], keep)
        assert sum(len(answer.inputs) for answer in delivered) == len(server.seen.billed) > 0


def test_requests_are_taken_only_when_there_is_room_for_them() -> None:
    taken = 0
    ahead: list[int] = []
    finished = 0

    def batches() -> Iterator[list[EmbeddingInput]]:
        nonlocal taken
        for n in range(80):
            taken += 1
            yield many(2, n * 2)

    async def keep(_: Answer) -> None:
        nonlocal finished
        ahead.append(taken - finished)
        finished += 1

    with serve(ServerConfig(latency=0.01)) as server:
        embed_batches(server, batches(), keep, max_in_flight=4)
    assert max(ahead) <= 5


@pytest.mark.slow
def test_nothing_new_is_sent_while_answers_cannot_be_stored() -> None:
    with serve(ServerConfig(tokens_per_minute=100_000_000)) as server:
        sent_meanwhile = 0

        async def main() -> None:
            away = asyncio.Event()

            async def keep(_: Answer) -> None:
                await away.wait()

            async def come_back() -> None:
                nonlocal sent_meanwhile
                await asyncio.sleep(1.0)
                sent_meanwhile = server.seen.requests
                away.set()

            async with EmbeddingClient(config(server), LocalPacer()) as client:
                returning = asyncio.create_task(come_back())
                await flow.embed_batches(
                    client, (many(2, n * 2) for n in range(60)), keep, max_in_flight=client.config.max_in_flight
                )
                await returning

        asyncio.run(main())
        assert sent_meanwhile <= 12
        assert server.seen.requests == 60


def test_requests_are_made_on_one_thread_which_is_not_the_loops() -> None:
    threads = set()

    def batches() -> Iterator[list[EmbeddingInput]]:
        for n in range(10):
            threads.add(threading.get_ident())
            yield many(2, n * 2)

    with serve() as server:
        embed_batches(server, batches())
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_an_error_in_the_making_of_requests_is_raised_when_what_is_under_way_is_delivered() -> None:
    def batches() -> Iterator[list[EmbeddingInput]]:
        yield many(2)
        raise DatabaseUnavailable("Postgres is away")

    delivered: list[Answer] = []

    async def keep(answer: Answer) -> None:
        delivered.append(answer)

    with serve(ServerConfig(latency=0.2)) as server, pytest.raises(DatabaseUnavailable):
        embed_batches(server, batches(), keep)
    assert len(delivered) == 1


def test_a_failure_is_raised_even_while_the_maker_of_requests_waits_for_something_else() -> None:
    release = threading.Event()

    def batches() -> Iterator[list[EmbeddingInput]]:
        yield many(2)
        release.wait(30)

    with serve(ServerConfig(quota_after=0, latency=0.1)) as server:
        began = time.monotonic()
        with pytest.raises(QuotaExhausted):
            embed_batches(server, batches())
        assert time.monotonic() - began < 5
    release.set()


@pytest.mark.slow
def test_a_server_that_states_no_limits_gets_as_many_requests_as_it_can_work_on() -> None:
    quiet = ServerConfig(latency=0.03, parallel=6, sends_headers=False)
    with serve(quiet) as server:
        embed_batches(server, [many(5, n * 5) for n in range(150)])
        assert 6 <= server.seen.most_in_flight <= 16


@pytest.mark.slow
def test_a_server_that_works_on_one_request_at_a_time_is_not_buried() -> None:
    """Thirty-two requests in the queue of a slow server would all time out."""
    with serve(ServerConfig(latency=0.02, parallel=1, sends_headers=False)) as server:
        embed_batches(server, [many(5, n * 5) for n in range(80)])
        assert server.seen.most_in_flight <= 6


def test_a_lone_surrogate_is_rejected_and_not_an_unhandled_error() -> None:
    asked = [*many(2), EmbeddingInput("broken \ud800 text", 5, b"s" * 16)]
    with serve() as server:
        answer = embed(server, asked)
    assert list(answer.inputs) == many(2)
    assert list(answer.rejected) == [b"s" * 16]


def test_progress_tells_what_was_used_against_the_limit() -> None:
    lines: list[str] = []
    with serve(ServerConfig(tokens_per_minute=1_000_000, requests_per_minute=3_000)) as server:

        async def main() -> None:
            async with EmbeddingClient(config(server), LocalPacer()) as client:

                async def keep(_: Answer) -> None: ...

                await flow.embed_batches(
                    client,
                    [many(3), many(3, 3)],
                    keep,
                    max_in_flight=client.config.max_in_flight,
                    progress=lambda p: lines.append(str(p)),
                )

        asyncio.run(main())
    assert "1,000,000 tokens a minute" in lines[-1]
    assert lines[-1].startswith("6 texts embedded in 2 requests")


@pytest.mark.slow
def test_an_answer_that_comes_in_drops_ends_with_the_timeout() -> None:
    with serve(ServerConfig(faults={"drip": 0.3}, seed=2)) as server:
        answers, _ = embed_batches(server, [many(2, n * 2) for n in range(6)], timeout_seconds=0.5)
        assert server.seen.faults["drip"] > 0
    assert sum(len(answer.inputs) for answer in answers) == 12


@pytest.mark.slow
def test_what_is_no_answer_and_billed_is_not_asked_for_until_the_time_is_over() -> None:
    with serve(ServerConfig(faults={"missing": 1.0})) as server:
        with pytest.raises(ProviderUnavailable, match=r"answered 5 times .*1 vectors for 2 inputs"):
            embed(server, many(2), retry_seconds=600.0)
        assert server.seen.requests <= 8


def test_a_text_whose_vector_is_useless_is_rejected_and_the_others_are_paid_once() -> None:
    asked = [*many(20), *inputs("a text that means nothing"), *many(20, 20)]
    with serve(ServerConfig(useless_word="means nothing")) as server:
        answer = embed(server, asked)
        assert server.seen.requests == 3
        assert sum(server.seen.billed.values()) == 43
        assert answer.tokens == sum(i.tokens for i in many(40)) + asked[20].tokens
    assert list(answer.inputs) == many(40)
    assert_right(answer)
    assert "zero" in answer.rejected[asked[20].content_hash]


@pytest.mark.slow
def test_a_server_whose_vectors_are_all_useless_rejects_no_text() -> None:
    """A word that is asked for as a probe gets a useless vector as well."""
    with serve(ServerConfig(useless_word="")) as server:
        with pytest.raises(ProviderUnavailable, match="zero"):
            embed(server, many(20), retry_seconds=60.0)
        assert server.seen.requests <= 8


def test_a_server_that_refuses_every_text_rejects_none() -> None:
    """A field of the request that it does not know, called input: else each text would be refused as if by its fault."""
    unknown: dict[str, Any] = {"error": {"message": "Unrecognized request argument supplied: input_type", "code": None}}
    with serve(ServerConfig(refuses=(400, unknown))) as server:
        with pytest.raises(ProviderRefused, match=r"refuses every text .*input_type"):
            embed(server, many(64))
        assert server.seen.requests == 8


def test_one_bad_text_alone_is_rejected_once_a_word_is_taken() -> None:
    with serve(ServerConfig(bad_word="cursed")) as server:
        answer = embed(server, inputs("a cursed text"))
        assert server.seen.billed == {"word": 1}
    assert len(answer.rejected) == 1


def test_an_error_under_the_status_200_is_what_it_stands_for() -> None:
    body: dict[str, Any] = {"error": {"message": "Insufficient credits", "code": 402}}
    with serve(ServerConfig(refuses=(200, body))) as server:
        with pytest.raises(QuotaExhausted, match="Insufficient credits"):
            embed(server, many(2))
        assert server.seen.requests == 1


def test_a_wait_longer_than_the_patience_is_named() -> None:
    body: dict[str, Any] = {"error": {"message": "Rate limit reached. Please try again in 3h0m0s.", "code": None}}
    with (
        serve(ServerConfig(refuses=(429, body))) as server,
        pytest.raises(ProviderUnavailable, match="asks to wait 10,800 s"),
    ):
        embed(server, many(2))


ODD_KEYS = ["sk-two\nlines-of-it", "sk-möglich-geheim", "sk-nul-\x00-and-more", "sk-열쇠-열쇠-열쇠"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key: str) -> None:
    with serve() as server:
        with pytest.raises(ConfigurationError, match="OPENAI_API_KEY") as caught:
            embed(server, many(2), api_key=SecretStr(key))
        assert server.seen.requests == 0
    assert key[3:8] not in "".join(traceback.format_exception(caught.value))


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 413, 422, 429, 500])
@pytest.mark.parametrize("padding", [0, 285])
def test_a_server_that_repeats_the_key_does_not_bring_it_into_an_error(status: int, padding: int) -> None:
    """Nor a part of it, where what it says is cut."""
    error = {"message": f"{'.' * padding} wrong key {KEY}; your input is refused", "code": 401}
    with serve(ServerConfig(refuses=(status, {"error": error}))) as server, pytest.raises(ProviderError) as caught:
        embed(server, many(1), retry_seconds=0.3)
    assert KEY[:10] not in str(caught.value)


def test_a_password_in_the_base_url_is_in_no_error_and_no_repr() -> None:
    with serve(ServerConfig(refuses=(404, {"error": {"message": "no pass-word-1 here"}}))) as server:
        url = server.url.replace("http://", "http://me:pass-word-1@") + "?api-key=pass-word-2"
        asked = config(server, base_url=url)
        with pytest.raises(ProviderRefused) as caught:
            embed(server, many(1), base_url=url)
    for shown in (str(caught.value), repr(asked), asked.bucket, asked.where):
        assert "pass-word" not in shown
    assert "127.0.0.1" in asked.bucket


def test_a_password_in_the_base_url_is_sent_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serve() as server:
        url = server.url.replace("http://", "http://me:pass%2Dword@")
        embed(server, many(2), base_url=url)
        assert list(server.seen.requests_by_key) == [f"Basic {base64.b64encode(b'me:pass-word').decode()}"]
        with open_api(config(server, base_url=url)) as api:
            api.batches.list()
    assert "embeddings" in caplog.text
    assert "batches" in caplog.text
    for secret in ("pass-word", "pass%2Dword", KEY):
        assert secret not in caplog.text


def test_a_base_url_that_cannot_be_asked_is_a_mistake_of_ones_own() -> None:
    with serve() as server, pytest.raises(ConfigurationError, match="OPENAI_BASE_URL"):
        embed(server, many(1), base_url="http://\u2603.example:1/v1")


def test_why_nobody_can_be_reached_is_told() -> None:
    with serve() as server:
        pass
    with pytest.raises(ProviderUnavailable, match="ConnectionRefusedError"):
        embed(server, many(1), retry_seconds=0.2)


@pytest.mark.slow
def test_answers_that_come_faster_than_they_are_stored_do_not_pile_up() -> None:
    in_hand = most = stored = 0
    with serve(ServerConfig(tokens_per_minute=100_000_000)) as server:

        async def main() -> None:
            storing = asyncio.Lock()

            async def keep(answer: Answer) -> None:
                nonlocal in_hand, most, stored
                in_hand += 1
                most = max(most, in_hand)
                async with storing:
                    await asyncio.sleep(0.02)
                in_hand -= 1
                stored += 1

            async with EmbeddingClient(config(server, max_in_flight=8), LocalPacer()) as client:
                await flow.embed_batches(
                    client, (many(2, n * 2) for n in range(100)), keep, max_in_flight=client.config.max_in_flight
                )

        asyncio.run(main())
        assert server.seen.requests == stored == 100
    # Those under way when the last place was taken, and no more; and storing is never short of work.
    assert MAX_UNDELIVERED <= most <= 8 + MAX_UNDELIVERED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("poison", "place"),
    [
        # What asks to wait is in test_evidence.
        *((poison, 20) for poison in get_args(Poison) if poison not in ("503 and wait", "429", "429 and wait")),
        ("500", 0),
        ("drop", 40),
    ],
)
def test_a_text_that_a_server_fails_for_each_time_is_rejected_and_the_others_are_embedded(
    poison: Poison, place: int
) -> None:
    asked = many(40)
    asked.insert(place, *inputs("a text full of poison"))
    spoilt = ServerConfig(poison_word="poison", poison=poison, hang_seconds=20)
    with serve(spoilt) as server:
        answer = embed(server, asked, timeout_seconds=0.5 if poison == "hang" else 5.0, retry_seconds=60.0)
        assert server.seen.requests <= 25
    assert list(answer.rejected) == [asked[place].content_hash]
    assert "a text full of poison" in answer.rejected[asked[place].content_hash]
    assert sorted(i.text for i in answer.inputs) == sorted(i.text for i in many(40))
    assert_right(answer)


@pytest.mark.slow
@pytest.mark.parametrize("poison", ["500", "503 and wait", "429 and wait", "401", "403", "404", "null", "NaN"])
def test_a_lone_text_that_a_server_fails_for_is_told_from_a_server_that_is_down(poison: Poison) -> None:
    with serve(ServerConfig(poison_word="poison", poison=poison)) as server:
        answer = embed(server, inputs("a text full of poison"), retry_seconds=60.0)
    assert len(answer.rejected) == 1
    with serve(ServerConfig(poison_word="", poison=poison)) as server, pytest.raises(ProviderError):
        embed(server, inputs("a text full of poison"), retry_seconds=3.0)


def test_a_text_is_rejected_when_the_time_is_over_and_a_word_is_answered() -> None:
    with serve(ServerConfig(poison_word="poison")) as server:
        began = time.monotonic()
        answer = embed(server, [*many(8), *inputs("a text full of poison")], retry_seconds=0.1)
        assert time.monotonic() - began < 5
    assert (len(answer.inputs), len(answer.rejected)) == (8, 1)


@pytest.mark.slow
def test_a_server_that_often_fails_rejects_no_text() -> None:
    with serve(ServerConfig(faults={"500": 0.5}, seed=5)) as server:
        answers, _ = embed_batches(server, [many(8, n * 8) for n in range(10)], retry_seconds=60.0)
    assert sum(len(answer.inputs) for answer in answers) == 80
    assert not [key for answer in answers for key in answer.rejected]


@pytest.mark.slow
def test_a_server_that_goes_down_in_the_middle_rejects_no_text() -> None:
    with serve() as server:

        async def main() -> None:
            async with EmbeddingClient(config(server, retry_seconds=3.0), LocalPacer()) as client:
                await client.embed(many(4))
                server.stop()
                with pytest.raises(ProviderUnavailable):
                    await client.embed(many(4, 4))

        asyncio.run(main())
