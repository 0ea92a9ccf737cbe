"""Published dimensions and prices."""

from __future__ import annotations

from itertools import pairwise

import pytest

from vector_pipeline.embedding.models import EMBEDDED_MODEL, TIERS, resolve_dimensions, usd
from vector_pipeline.errors import ConfigurationError


@pytest.mark.parametrize(
    ("model", "wish", "got"),
    [
        ("text-embedding-3-small", None, 1_536),
        ("text-embedding-3-small", 256, 256),
        ("text-embedding-3-large", None, 3_072),
        ("text-embedding-ada-002", 1_536, 1_536),
        ("unknown", None, None),
        ("unknown", 64, 64),
    ],
)
def test_dimensions_are_the_models_own_or_those_wished_for(model: str, wish: int | None, got: int | None) -> None:
    assert resolve_dimensions(model, wish) == got


@pytest.mark.parametrize(("model", "wish"), [("text-embedding-3-small", 2_000), ("text-embedding-ada-002", 256)])
def test_dimensions_that_a_model_cannot_give_are_refused_by_name(model: str, wish: int) -> None:
    with pytest.raises(ConfigurationError, match=model):
        resolve_dimensions(model, wish)


def test_prices_are_per_million_tokens_and_half_of_that_in_batches() -> None:
    assert usd("text-embedding-3-small", 5_000_000) == pytest.approx(0.10)
    assert usd("text-embedding-3-small", 5_000_000, batch=True) == pytest.approx(0.05)
    assert usd(EMBEDDED_MODEL, 5_000_000) == 0.0
    assert usd("unknown", 1) is None
    assert usd("unknown", 2_000_000, usd_per_million_tokens=0.5) == pytest.approx(1.0)


def test_each_tier_allows_at_least_what_the_one_below_does() -> None:
    tiers = [TIERS[name] for name in ("free", "1", "2", "3", "4", "5")]
    for lower, higher in pairwise(tiers):
        assert higher.tokens_per_minute >= lower.tokens_per_minute
        assert higher.requests_per_minute >= lower.requests_per_minute
