"""Published prices and limits of accounts, with date and source. The providers list their models.

A model need not be listed: its dimensions are learned from its first answer, and its limits from the headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vector_pipeline.embedding.providers.base import KnownModel
from vector_pipeline.embedding.providers.embedded import (
    EMBEDDED_DIMENSIONS,
    EMBEDDED_MODEL,
    KOREAN_MODEL,
    MULTILINGUAL_MODEL,
)
from vector_pipeline.embedding.providers.registry import known_model
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import EMBEDDED_MODELS

__all__ = [
    "BATCH_DISCOUNT",
    "EMBEDDED_DIMENSIONS",
    "EMBEDDED_MODEL",
    "KOREAN_MODEL",
    "MULTILINGUAL_MODEL",
    "TIERS",
    "KnownModel",
    "Tier",
    "known_model",
    "resolve_dimensions",
    "usd",
]

BATCH_DISCOUNT = 0.5
"""The Batch API costs half (https://platform.openai.com/docs/guides/batch, read 2026-11-23)."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Limits of an account: requests a minute, requests a day, tokens a minute, tokens queued for the Batch API."""

    requests_per_minute: int
    requests_per_day: int | None
    tokens_per_minute: int
    batch_queue_tokens: int | None


# text-embedding-3-*, https://platform.openai.com/docs/models/text-embedding-3-small, read 2026-11-23.
TIERS: Mapping[str, Tier] = MappingProxyType(
    {
        "free": Tier(100, 2_000, 40_000, None),
        "1": Tier(3_000, None, 1_000_000, 3_000_000),
        "2": Tier(5_000, None, 1_000_000, 20_000_000),
        "3": Tier(5_000, None, 5_000_000, 100_000_000),
        "4": Tier(10_000, None, 5_000_000, 500_000_000),
        "5": Tier(10_000, None, 10_000_000, 4_000_000_000),
    }
)


def resolve_dimensions(model: str, dimensions: int | None) -> int | None:
    """The dimensions of a model's vectors, with the user's setting; None for an unknown model without a setting.

    Raises ConfigurationError if the model cannot return that many.
    """
    known = known_model(model)
    if known is None or dimensions is None:
        return dimensions if known is None else known.dimensions
    if dimensions > known.dimensions or (dimensions != known.dimensions and not known.takes_dimensions):
        wanted = f"at most {known.dimensions:,}" if known.takes_dimensions else f"only {known.dimensions:,}"
        raise ConfigurationError(f"VECTOR_PIPELINE_DIMENSIONS is {dimensions:,}, but {model} gives {wanted}")
    return dimensions


def usd(model: str, tokens: int, *, batch: bool = False, usd_per_million_tokens: float | None = None) -> float | None:
    """The price of tokens in USD; None if the price of the model is not known and not set."""
    # An embedded model costs nothing, also while a model with a price fills a space beside it.
    price = 0.0 if model in EMBEDDED_MODELS else usd_per_million_tokens
    if price is None:
        known = known_model(model)
        price = known.usd_per_million_tokens if known else None
    if price is None:
        return None
    return tokens / 1_000_000 * price * (BATCH_DISCOUNT if batch else 1.0)
