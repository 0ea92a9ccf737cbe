"""Figures of retrieval for one question or many, with their intervals. There is no input or output here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
SEED = 4

Figures = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over questions, and the middle 95 % of the means of samples drawn from them again and again."""

    value: float
    low: float
    high: float


def recall(shares: Sequence[float]) -> float:
    """The part of an answer that was retrieved. `shares` is the part in each retrieved chunk."""
    return min(1.0, sum(shares))


def reciprocal_rank(shares: Sequence[float]) -> float:
    """1 / the rank of the first retrieved chunk with a part of the answer; 0 without one."""
    return next((1 / rank for rank, share in enumerate(shares, 1) if share > 0), 0.0)


def ndcg(shares: Sequence[float], ideal: Sequence[float]) -> float:
    """Normalised discounted cumulative gain: shares / log2(rank + 1), divided by those of the best possible order.

    `ideal` is what each chunk of the corpus has of the answer, largest first, as many as were asked for.
    """
    best = _discounted(ideal)
    return min(1.0, _discounted(shares) / best) if best else 0.0


def _discounted(gains: Sequence[float]) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, 1)))


def interval(figures: Sequence[float] | Figures) -> Interval:
    """The mean of the figures of many questions with its 95 % interval. It is the same each time."""
    values = np.asarray(figures, dtype=np.float64)
    if not len(values):
        return Interval(0.0, 0.0, 0.0)
    drawn = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))
