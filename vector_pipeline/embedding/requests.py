"""Texts into requests: order kept, nothing lost, never an empty request, every limit held at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

# Requests of this weight are large enough to spare requests per minute and small enough that a lost answer is cheap
# and the budget flows evenly: at 10 million tokens a minute, one every 0.12 s.
MIN_TARGET = 20_000
SECONDS_OF_BUDGET = 0.6


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may hold.

    The API's own: 2,048 inputs, 300,000 tokens, 8,192 tokens an input
    (https://platform.openai.com/docs/api-reference/embeddings/create). The weight's default leaves a margin.
    """

    max_inputs: int = 2_048
    max_weight: int = 280_000
    max_tokens_per_input: int = 8_192


def weigh(tokens: int, text: str) -> int:
    """What a text counts against a request's limit: the larger of its tokens and a quarter of its UTF-8 bytes.

    The API's gate on the size of a request was found to count bytes/4 of string inputs: more than the tokens for
    English, fewer for Korean (https://github.com/timescale/pgai/pull/730).
    """
    # No character has more than four bytes, so most texts need not be encoded to know that tokens are more.
    if tokens >= len(text):
        return tokens
    size = len(text) if text.isascii() else len(text.encode())
    return max(tokens, math.ceil(size / 4))


def pack(items: Iterable[T], limits: RequestLimits, weight: Callable[[T], int]) -> Iterator[list[T]]:
    """Items in their order as requests within the limits, each made as soon as it is full.

    An item that alone weighs more than a request may stands alone: the caller decides what becomes of it.
    """
    batch: list[T] = []
    total = 0
    for item in items:
        weighs = weight(item)
        if batch and (len(batch) >= limits.max_inputs or total + weighs > limits.max_weight):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += weighs
    if batch:
        yield batch


def target_weight(limits: RequestLimits, tokens_per_minute: int | None, requests_per_minute: int | None) -> int:
    """How much one request should weigh so that both budgets of a minute are used up together.

    Never over the limit nor over a minute's tokens (which could never be admitted); where requests are scarce they
    are larger. Without a known rate, requests are of moderate size.
    """
    if tokens_per_minute is None:
        return min(limits.max_weight, 2 * MIN_TARGET)
    wanted = max(MIN_TARGET, math.ceil(tokens_per_minute / 60 * SECONDS_OF_BUDGET))
    if requests_per_minute:
        # A tenth more than needed, since requests are seldom filled to the brim.
        wanted = max(wanted, math.ceil(1.1 * tokens_per_minute / requests_per_minute))
    return max(1, min(wanted, limits.max_weight, tokens_per_minute))
