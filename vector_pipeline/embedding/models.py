"""What is published of the models and of the accounts' limits, with date and source.

Nothing here is needed for a model that is not listed: its dimensions are learned from its first answer, its limits
from the headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vector_pipeline.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model: its dimensions, whether fewer can be asked for, and its price in USD for a million tokens."""

    dimensions: int
    takes_dimensions: bool
    usd_per_million_tokens: float


# https://platform.openai.com/docs/guides/embeddings and https://platform.openai.com/docs/pricing, read 2026-11-23.
KNOWN_MODELS: Mapping[str, KnownModel] = MappingProxyType(
    {
        "text-embedding-3-small": KnownModel(1_536, True, 0.02),
        "text-embedding-3-large": KnownModel(3_072, True, 0.13),
        "text-embedding-ada-002": KnownModel(1_536, False, 0.10),
    }
)

EMBEDDED_MODEL = "wordllama-256"
EMBEDDED_DIMENSIONS = 256
"""The model that ships with the package (see embedded_model)."""

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
    """Dimensions of the vectors that a model will answer with; None for an unknown model without a wish.

    Raises ConfigurationError where the model cannot give so many.
    """
    known = KNOWN_MODELS.get(model)
    if known is None or dimensions is None:
        return dimensions if known is None else known.dimensions
    if dimensions > known.dimensions or (dimensions != known.dimensions and not known.takes_dimensions):
        wanted = f"at most {known.dimensions:,}" if known.takes_dimensions else f"only {known.dimensions:,}"
        raise ConfigurationError(f"VECTOR_PIPELINE_DIMENSIONS is {dimensions:,}, but {model} gives {wanted}")
    return dimensions


def usd(model: str, tokens: int, *, batch: bool = False, usd_per_million_tokens: float | None = None) -> float | None:
    """What tokens cost in USD; None where the price of the model is not known and not set."""
    price = usd_per_million_tokens
    if price is None:
        known = KNOWN_MODELS.get(model)
        price = known.usd_per_million_tokens if known else 0.0 if model == EMBEDDED_MODEL else None
    if price is None:
        return None
    return tokens / 1_000_000 * price * (BATCH_DISCOUNT if batch else 1.0)
