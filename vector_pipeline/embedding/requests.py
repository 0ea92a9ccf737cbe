"""Pack texts into requests: in order, without loss, without empty requests, within all limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

# Requests of this weight are large enough to save requests per minute, and so small that a lost answer is cheap and
# requests are spread evenly: at 10 million tokens a minute, one every 0.12 s.
MIN_TARGET = 20_000
SECONDS_OF_BUDGET = 0.6


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """The limits of one request.

    Those of OpenAI's API are 2,048 inputs, 300,000 tokens and 8,192 tokens an input
    (https://platform.openai.com/docs/api-reference/embeddings/create). The default of `max_weight` leaves a margin.
    """

    max_inputs: int = 2_048
    max_weight: int = 280_000
    max_tokens_per_input: int = 8_192


def weigh(tokens: int, text: str) -> int:
    """The weight of a text in a request: its tokens, or a quarter of its UTF-8 bytes if that is more.

    The API was found to check the size of a request by bytes/4 of its strings: more than the tokens for English, fewer
    for Korean (https://github.com/timescale/pgai/pull/730). Example: 1,000 characters of English with 220 tokens weigh
    250.
    """
    # A character has at most four bytes. So if there are as many tokens as characters, the tokens are the larger number.
    if tokens >= len(text):
        return tokens
    size = len(text) if text.isascii() else len(text.encode())
    return max(tokens, math.ceil(size / 4))


def pack(items: Iterable[T], limits: RequestLimits, weight: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield items in their order as requests within the limits, each as soon as it is full.

    An item that weighs more than a request may gets a request of its own; the caller decides what to do with it.
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
    """The weight that a request should have so that the tokens and the requests of a minute are used up together.

    It is never above the limit of a request or the tokens of a minute, which could never be admitted. Without a known
    rate it is moderate. Example: 1,000,000 tokens and 10 requests a minute give 1.1 x 100,000 = 110,000.
    """
    if tokens_per_minute is None:
        return min(limits.max_weight, 2 * MIN_TARGET)
    wanted = max(MIN_TARGET, math.ceil(tokens_per_minute / 60 * SECONDS_OF_BUDGET))
    if requests_per_minute:
        # A tenth more than needed, because requests are rarely completely full.
        wanted = max(wanted, math.ceil(1.1 * tokens_per_minute / requests_per_minute))
    return max(1, min(wanted, limits.max_weight, tokens_per_minute))
