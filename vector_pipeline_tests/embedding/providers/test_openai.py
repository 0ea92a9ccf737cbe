"""What the spellings of errors mean, and what is let through as vectors."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
import pytest

from vector_pipeline.embedding.pacing.limits import RateHeaders, parse_duration
from vector_pipeline.embedding.providers.base import (
    BrokenAnswer,
    Decoded,
    HiddenError,
    Kind,
    Problem,
    Question,
    WrongDimensions,
)
from vector_pipeline.embedding.providers.common import wait_named
from vector_pipeline.embedding.providers.openai import BASE64, OpenAI


def classify(status: int, headers: dict[str, str], body: object) -> Problem:
    return OpenAI().classify(status, headers, body)


def decode_vectors(content: bytes, count: int, dimensions: int | None) -> Decoded:
    return OpenAI().decode(content, Question("m", ["text"] * count, dimensions=dimensions))


TPM = (
    "Rate limit reached for text-embedding-3-small in organization org-X on tokens per min (TPM): Limit 1000000, "
    "Used 976163, Requested 70716. Please try again in 2.812s. Visit https://platform.openai.com/account/rate-limits"
)


TOO_LARGE = "Request too large for gpt-4o in organization org-X"
TOO_LONG = "This model's maximum context length is 8192 tokens, however you requested 9000"
TOO_MANY = "Requested 416735 tokens, max 300000 tokens per request"
NO_MATRYOSHKA = "does not support matryoshka representation"


def openai_error(message: str, kind: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, openai_error(TPM, "tokens", "rate_limit_exceeded"), Kind.RATE_LIMITED),
        (
            429,
            openai_error(TOO_LARGE, "tokens", "rate_limit_exceeded"),
            Kind.SPLIT,
        ),
        (429, openai_error("x", "insufficient_quota", "credit_balance_exhausted"), Kind.QUOTA),
        (400, openai_error("Billing hard limit", "invalid_request_error", "billing_hard_limit_reached"), Kind.QUOTA),
        (402, {"error": {"message": "Insufficient credits", "code": 402}}, Kind.QUOTA),
        (429, {"error": "Model is overloaded", "error_type": "Overloaded"}, Kind.RATE_LIMITED),
        (500, "<html>Internal Server Error</html>", Kind.RETRY),
        (424, {"error": "Backend error", "error_type": "backend"}, Kind.RETRY),
        (408, None, Kind.RETRY),
        (409, None, Kind.RETRY),
        (413, "<html>too large</html>", Kind.SPLIT),
        (413, openai_error("Request body too large for text-embedding-3-small - Max size: 64000 tokens"), Kind.SPLIT),
        (400, openai_error("Invalid 'input[3]': maximum input length is 8192 tokens."), Kind.SPLIT),
        (
            400,
            openai_error(TOO_LONG),
            Kind.SPLIT,
        ),
        (
            400,
            openai_error(TOO_MANY, "max_tokens_per_request"),
            Kind.SPLIT,
        ),
        (400, openai_error("This model does not support specifying dimensions."), Kind.WITHOUT),
        (
            400,
            {"object": "error", "message": NO_MATRYOSHKA, "code": 400},
            Kind.WITHOUT,
        ),
        (422, {"detail": "encoding_format: permitted: 'float'"}, Kind.WITHOUT),
        (401, openai_error("Incorrect API key provided: sk-...", code="invalid_api_key"), Kind.REFUSED),
        (403, openai_error("Project does not have access to model"), Kind.REFUSED),
        (404, openai_error("The model `x` does not exist", code="model_not_found"), Kind.REFUSED),
        (404, {"error": "model 'x' not found, try pulling it first"}, Kind.REFUSED),
    ],
)
def test_an_error_is_judged_by_kind(status: int, body: object, kind: Kind) -> None:
    assert classify(status, {}, body).kind is kind


def test_the_text_that_a_message_names_is_the_culprit() -> None:
    assert classify(400, {}, openai_error("Invalid 'input[17]': maximum input length is 8192 tokens.")).culprit == 17


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25),
        ({"retry-after": "7"}, "try again in 3s", 7.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "Please try again in 2.812s.", 2.812),
        ({}, TPM, 2.812),
        ({}, "Please try again in 976ms.", 0.976),
        ({}, "Please try again in 6m0s.", 360.0),
        ({}, "Please try again in 7m12s. Visit", 432.0),
        ({}, "Please try again in 1h2m3.5s.", 3_723.5),
        ({}, "Please try again in 1d2h.", 93_600.0),
        ({}, "Please try again in 20. Or not.", 20.0),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after-ms": "inf"}, "Please try again in 3s.", 3.0),
        ({"retry-after": "-5"}, "", 0.0),
        (
            {"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            "",
            30.0,
        ),
        (
            {"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            "",
            0.0,
        ),
        ({}, "Please retry after 33 seconds.", 33.0),
        ({}, "slow down", None),
    ],
)
def test_the_wait_is_what_headers_or_message_name(headers: dict[str, str], message: str, seconds: float | None) -> None:
    assert wait_named(headers, message) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17ms", 0.017),
        ("1.2s", 1.2),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("12", 12.0),
        ("soon", None),
        ("", None),
    ],
)
def test_durations_are_gos(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


def test_limits_are_read_from_headers_or_the_message_of_a_429() -> None:
    headers = {
        "x-ratelimit-limit-tokens": "1000000",
        "x-ratelimit-remaining-tokens": "-27689",
        "x-ratelimit-limit-requests": "3000",
        "x-ratelimit-remaining-requests": "2999",
        "openai-processing-ms": "120",
    }
    assert RateHeaders.of(headers) == RateHeaders(1_000_000, -27_689, 3_000, 2_999, 0.12)
    assert RateHeaders.of({}, TPM) == RateHeaders(1_000_000, 23_837)
    assert not RateHeaders.of({}).stated
    for none in ("-1", "0", "unlimited", "inf", "1e400", ""):
        assert not RateHeaders.of({"x-ratelimit-limit-tokens": none, "x-ratelimit-remaining-tokens": none}).stated


def answer(rows: list[Any], **extra: Any) -> bytes:
    data = [{"index": n, "embedding": row} for n, row in enumerate(rows)]
    return orjson.dumps({"data": data, "model": "m", "usage": {"prompt_tokens": 3}, **extra})


def packed(*values: float) -> str:
    return base64.b64encode(np.array(values, dtype="<f4").tobytes()).decode()


def test_vectors_come_packed_or_as_numbers() -> None:
    for rows in ([packed(1, 0), packed(0, 1)], [[1, 0], [0, 1]]):
        found = decode_vectors(answer(rows), 2, 2)
        np.testing.assert_array_equal(found.vectors, np.eye(2, dtype=np.float32))
        assert (found.tokens, found.model, BASE64 in found.ignored) == (3, "m", not isinstance(rows[0], str))
        assert found.useless == []


def test_vectors_that_no_search_could_find_are_told_apart() -> None:
    rows = [packed(1, 0), packed(0, 0), packed(1, float("nan")), packed(float("-inf"), 0), packed(-0.0, 1e-30)]
    assert decode_vectors(answer(rows), 5, 2).useless == [1, 2, 3, 4]
    # pgvector's halfvec ends at 65,504.
    assert decode_vectors(answer([packed(65_504, 0), packed(-65_600, 0), packed(1e-7, 0)]), 3, 2).useless == [1]
    assert decode_vectors(answer([[1, None], [0, 1]]), 2, 2).useless == [0]


@pytest.mark.parametrize("row", [None, [], "", "%%%", 7, {}, packed(1, 0)[:-1], packed(1), [1], [[1, 0]], ["a", "b"]])
def test_a_vector_that_is_none_does_not_spoil_the_others(row: object) -> None:
    found = decode_vectors(answer([packed(1, 0), row, [0, 1]]), 3, 2)
    assert found.useless == [1]
    np.testing.assert_array_equal(found.vectors, [[1, 0], [0, 0], [0, 1]])


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_vector_of_words_that_are_no_json_does_not_spoil_the_others(word: str) -> None:
    content = answer([[1, 0], ["it", 1]]).replace(b'"it"', word.encode())
    assert decode_vectors(content, 2, 2).useless == [1]


def test_a_vector_that_was_left_out_is_known_where_the_others_say_which_they_are() -> None:
    left_out = {"data": [{"index": n, "embedding": packed(1, n)} for n in (0, 2)]}
    found = decode_vectors(orjson.dumps(left_out), 3, 2)
    assert found.useless == [1]
    np.testing.assert_array_equal(found.vectors, [[1, 0], [0, 0], [1, 2]])


@pytest.mark.parametrize("billed", ["many", -3, 0, 1e300, None, True, [7], 10**18])
def test_an_answer_is_not_lost_for_what_it_says_of_its_tokens(billed: object) -> None:
    usage = {"prompt_tokens": billed}
    assert decode_vectors(answer([packed(1, 0)], usage=usage), 1, 2).tokens == (1 if billed is True else 0)


@pytest.mark.parametrize(("code", "status"), [(429, 429), ("429", 500), (7, 500), (None, 500)])
def test_an_error_under_the_status_200_is_one(code: object, status: int) -> None:
    with pytest.raises(HiddenError) as caught:
        decode_vectors(orjson.dumps({"error": {"message": "No.", "code": code}}), 1, None)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "content",
    [
        answer([packed(1, 0), packed(0, 1)])[:-5],
        b"",
        b"null",
        b"[]",
        orjson.dumps({"data": None}),
        answer([packed(1, 0)]),
        answer([packed(1, 0)] * 3),
        answer([packed(1, 0), packed(1)]),
        answer([None, None]),
        answer([packed(1, 0)[:-4] + "AA==", packed(1, 0)[:-4] + "AA=="]),
        answer([[1, 2], [0]]),
        answer(["%%%", "%%%"]),
        orjson.dumps({"data": [{"index": 0, "embedding": packed(1)}, {"index": 0, "embedding": packed(1)}]}),
        orjson.dumps({"data": [{"index": 0, "embedding": packed(1)}, {"index": 5, "embedding": packed(1)}]}),
        orjson.dumps({"data": [{"index": 0, "embedding": packed(1)}, {"index": -1, "embedding": packed(1)}]}),
    ],
)
def test_what_is_no_full_answer_is_broken(content: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        decode_vectors(content, 2, None)


def test_other_dimensions_than_expected_are_told_apart_from_broken_answers() -> None:
    with pytest.raises(WrongDimensions, match="2 dimensions, 3 were expected"):
        decode_vectors(answer([packed(1, 0)]), 1, 3)


def test_failures_that_differ_in_numbers_and_ids_alone_are_of_one_kind() -> None:
    def signature(status: int, message: str) -> str:
        return OpenAI().classify(status, {}, {"error": {"message": message}}).signature

    said = "The server had an error. Please include the request ID {} in your message."
    ids = ("req_4f0b12c9ae", "0b5c1f7e-63e1-4d5b-9d6e-2f1c7a9e4b21", "8f2a", "2026-11-27T09:30:02Z")
    assert len({signature(500, said.format(name)) for name in ids[:3]}) == 1
    assert signature(500, f"lost at {ids[3]}") == signature(500, "lost at 2026-11-27T09:31:40Z")
    assert signature(500, "out of memory") != signature(500, "cannot encode")
