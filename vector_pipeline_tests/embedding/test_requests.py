from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.embedding.requests import RequestLimits, pack, target_weight, weigh


@given(st.lists(st.integers(1, 500), max_size=300), st.integers(1, 20), st.integers(100, 1_000))
def test_requests_keep_order_lose_nothing_and_hold_every_limit(weights: list[int], inputs: int, weight: int) -> None:
    limits = RequestLimits(max_inputs=inputs, max_weight=weight)
    batches = list(pack(weights, limits, lambda item: item))
    assert [item for batch in batches for item in batch] == weights
    for batch in batches:
        assert 0 < len(batch) <= inputs
        assert sum(batch) <= weight or len(batch) == 1


@given(st.text(max_size=200), st.integers(0, 300))
def test_a_text_weighs_the_larger_of_tokens_and_a_quarter_of_its_bytes(text: str, tokens: int) -> None:
    assert weigh(tokens, text) == max(tokens, math.ceil(len(text.encode()) / 4))


@given(st.integers(1, 20_000_000), st.one_of(st.none(), st.integers(1, 20_000)))
def test_a_request_never_asks_for_more_than_a_minute_gives(tokens: int, requests: int | None) -> None:
    weight = target_weight(RequestLimits(), tokens, requests)
    assert 1 <= weight <= min(280_000, tokens)
    if requests and tokens / requests < 250_000 and weight < tokens:
        assert weight * requests >= tokens
