"""Functions that providers share: for JSON that may be invalid, vectors that may be broken, and stated waits."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import orjson
import regex

from vector_pipeline.embedding.pacing.limits import parse_duration
from vector_pipeline.embedding.providers.base import BrokenAnswer, Vectors, WrongDimensions

_TRY_AGAIN = regex.compile(
    r"(?:try again|retry) (?:in|after) ((?:\d+(?:\.\d+)?(?:ms|[dhms]))+|\d+(?:\.\d+)?(?= seconds?\b|\b))",
    regex.IGNORECASE,
)

# A server's count of billed tokens is believed below this. No request has a thousandth of it.
MAX_TOKENS_BILLED = 1_000_000_000

# The longest wait, whatever a server asks for; it may send a number of three hundred digits.
MAX_WAIT_SECONDS = 30 * 86_400.0

# The absolute value of the largest number of a vector: that of IEEE 754 half precision, as in pgvector's `halfvec`.
# Postgres refuses a larger one, and smaller ones become zero.
LARGEST = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


def parsed(content: bytes) -> Any:
    """Parse the JSON of an answer; the words NaN and Infinity are accepted. Raises BrokenAnswer."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        # Some servers write these words for a vector without values. The JSON standard has no such words.
        if b"NaN" in content or b"Infinity" in content:
            with suppress(ValueError, RecursionError):
                return json.loads(content)
        raise BrokenAnswer(f"an answer that cannot be read ({type(error).__name__})") from error


def stacked(rows: Sequence[object], dimensions: int | None) -> tuple[Vectors, Sequence[int]]:
    """Stack vectors in the order of the inputs: float32, shape (len(rows), dimensions); and indexes of useless ones.

    A row is a list of numbers, or little-endian float32 in base64. Anything else is useless. Raises BrokenAnswer if no
    row is a vector, or if `dimensions` is None and the lengths differ; WrongDimensions if no row has `dimensions`.
    """
    found = [_vector(row) for row in rows]
    lengths = {len(vector) for vector in found if vector is not None}
    if not lengths:
        raise BrokenAnswer("an answer without a vector")
    if dimensions is None and len(lengths) > 1:
        raise BrokenAnswer("vectors of different lengths")
    expected = dimensions if dimensions in lengths else max(lengths)
    if dimensions is not None and expected != dimensions:
        raise WrongDimensions(f"the model answered with {expected:,} dimensions, {dimensions:,} were expected")
    vectors = np.zeros((len(rows), expected), dtype=np.float32)
    for place, vector in enumerate(found):
        if vector is not None and len(vector) == expected:
            vectors[place] = vector
    # NaN is neither above nor below a limit.
    largest = np.abs(vectors).max(axis=1)
    useless = np.flatnonzero(~((largest >= SMALLEST) & (largest <= LARGEST))).tolist()
    return vectors, useless


def _vector(row: object) -> np.ndarray[tuple[int], np.dtype[np.float32]] | None:
    """One vector from base64 or numbers; None if it is not a vector."""
    try:
        if isinstance(row, str):
            vector = np.frombuffer(base64.b64decode(row, validate=True), dtype="<f4")
        else:
            with np.errstate(over="ignore"):  # a number beyond float32 becomes infinity, and the vector is useless
                vector = np.asarray(row, dtype=np.float32)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        return None
    return vector if vector.ndim == 1 and len(vector) else None


def billed(tokens: object) -> int:
    """The billed tokens that an answer states; 0 if it states no plausible number."""
    return tokens if isinstance(tokens, int) and 0 < tokens < MAX_TOKENS_BILLED else 0


def wait_named(headers: Mapping[str, str], message: str) -> float | None:
    """The seconds that an answer asks to wait, in retry-after-ms, retry-after or its message; None if in none."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (value := headers.get(name)) is not None and (seconds := _seconds(value, headers.get("date"))) is not None:
            return min(max(0.0, seconds * factor), MAX_WAIT_SECONDS)
    found = _TRY_AGAIN.search(message)
    seconds = parse_duration(found[1].lower()) if found else None
    return None if seconds is None else min(seconds, MAX_WAIT_SECONDS)


def _seconds(value: str, now: str | None) -> float | None:
    """The seconds of a number, or until a date by the server's own clock (RFC 9110, 10.2.3)."""
    try:
        number = float(value)
        return number if math.isfinite(number) else None
    except ValueError:
        pass
    try:
        return (parsedate_to_datetime(value) - parsedate_to_datetime(now or "")).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
