"""What an answer of the API means: vectors, try again, make it smaller, or give up.

Judged by status, type, code and the few messages that alone tell cases apart; pure functions over what was received.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

import numpy as np
import orjson
import regex

from vector_pipeline.embedding.pacing.limits import parse_duration

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]

_TRY_AGAIN = regex.compile(
    r"(?:try again|retry) (?:in|after) ((?:\d+(?:\.\d+)?(?:ms|[dhms]))+|\d+(?:\.\d+)?(?= seconds?\b|\b))",
    regex.IGNORECASE,
)
_NAMED_INPUT = regex.compile(r"input\[(\d+)\]")

# Spellings of "no money left"; the status is 429 like that of a rate limit, and trying again never helps.
_QUOTA = ("insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "billing_not_active")

_DIGITS = regex.compile(r"\d+")

# Of a 400, 413 or 422: the request or an input is too large, and may pass when it is split.
_TOO_LARGE = regex.compile(
    r"too large|too long|maximum (?:context|input|request)|max(?:imum)? [\d,]+ tokens|max_tokens_per_request|"
    r"tokens_limits_reached|batch size|array_above_max_length|context length|must have less than",
    regex.IGNORECASE,
)


# Of these it is the request as a whole that is too large, whatever its texts: the next ones can be made smaller.
_WHOLE_TOO_LARGE = regex.compile(
    r"batch size|array too long|array_above_max_length|max_tokens_per_request|maximum request size|"
    r"tokens_limits_reached|(?:request|body|entity|payload|content) too large",
    regex.IGNORECASE,
)


# What a server says it bills is believed below this: no request holds a thousandth of it.
MOST_TOKENS_BILLED = 1_000_000_000


class Kind(Enum):
    """What to do about an answer that is no vectors."""

    RETRY = auto()
    """It may pass by itself: the same request again, after a wait."""
    RATE_LIMITED = auto()
    """429: the same request again, after the wait that the answer names; nobody else sends meanwhile."""
    SPLIT = auto()
    """Too large, or one bad item among good ones: in halves, down to the one that cannot be embedded."""
    NO_BASE64 = auto()
    """The server knows no base64: the same request again, asking for lists of numbers."""
    NO_DIMENSIONS = auto()
    """The server's model takes no `dimensions`: the same request again, without."""
    REFUSED = auto()
    """Hopeless: key, rights, model, dimensions."""
    QUOTA = auto()
    """No money left."""
    BROKEN = auto()
    """A 200 that is no answer, and billed: the same request again, a few times."""
    USELESS = auto()
    """Vectors that no search could find, and billed: once more, then the texts are rejected."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that is no vectors; `wait_seconds` is what it asks for, None where it names no time."""

    kind: Kind
    message: str
    wait_seconds: float | None = None
    culprit: int | None = None
    """The index of the input that the message names."""
    whole: bool = False
    """Whether the request was too large as a whole, and not one of its texts."""
    of_text: bool = False
    """Whether the message says that it is a text that is wrong; else it may be anything that it calls input."""
    account: bool = False
    """Whether it is more than the account may ever send at once, rather than more than the API takes."""
    unseen: bool = False
    """Whether the server never saw the request: no text can be the reason."""
    repeated: str | None = None
    """The signature of the failure, where the request failed again and again while the server answered others."""

    @property
    def signature(self) -> str:
        """What two failures of the same sort have in common: kind and message, whatever numbers are in it."""
        return f"{self.kind.name} {_DIGITS.sub('0', self.message)}"

    @property
    def may_be_of_text(self) -> bool:
        """Whether one of the texts may be the reason that an answer failed, though it does not say so."""
        asked_to_wait = self.wait_seconds is not None
        return self.kind in (Kind.RETRY, Kind.BROKEN, Kind.USELESS) and not self.unseen and not asked_to_wait


class BrokenAnswer(Exception):
    """A 200 whose body is not what was asked for: cut short, or another count. It is asked for again."""


class HiddenError(Exception):
    """An error under the status 200, as some gateways hand on others': the status it stands for, and its body."""

    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class WrongDimensions(Exception):
    """Vectors of other dimensions than the space has; asking again cannot help."""


def classify(
    status: int, headers: Mapping[str, str], body: object, clean: Callable[[str], str] = lambda text: text
) -> Problem:
    """What to do about an answer with an error status; `clean` takes the secrets out of what it says."""
    message, kind, code = _error_of(body)
    shown = f"{status}: {clean(message)[:300] or 'no message'}"
    if status == 402 or kind in _QUOTA or code in _QUOTA or "exceeded your current quota" in message:
        return Problem(Kind.QUOTA, shown)
    if status == 429:
        if "Request too large" in message or "must be reduced" in message:
            return Problem(Kind.SPLIT, shown, whole=True, account=True)
        return Problem(Kind.RATE_LIMITED, shown, wait_named(headers, message))
    if status in (408, 409, 424, 425) or status >= 500:
        return Problem(Kind.RETRY, shown, wait_named(headers, message))
    if status in (400, 413, 422):
        if "encoding_format" in message or "base64" in message:
            return Problem(Kind.NO_BASE64, shown)
        if code == "model_not_found":
            return Problem(Kind.REFUSED, shown)
        if "dimension" in message.lower() or "matryoshka" in message.lower():
            return Problem(Kind.NO_DIMENSIONS, shown)
        named = _NAMED_INPUT.search(message)
        if named or status in (413, 422) or _TOO_LARGE.search(f"{message} {kind} {code}") or "input" in message:
            whole = not named and bool(_WHOLE_TOO_LARGE.search(f"{message} {kind} {code}"))
            of_text = bool(named or _TOO_LARGE.search(f"{message} {kind} {code}"))
            return Problem(Kind.SPLIT, shown, culprit=int(named[1]) if named else None, whole=whole, of_text=of_text)
    return Problem(Kind.REFUSED, shown)


def wait_named(headers: Mapping[str, str], message: str) -> float | None:
    """Seconds that an answer asks to wait: retry-after-ms, retry-after, or its message; None without any."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (value := headers.get(name)) is not None and (seconds := _seconds(value, headers.get("date"))) is not None:
            return max(0.0, seconds * factor)
    found = _TRY_AGAIN.search(message)
    return parse_duration(found[1].lower()) if found else None


def _seconds(value: str, now: str | None) -> float | None:
    """Seconds of a number, or until a date by the server's own clock (RFC 9110, 10.2.3)."""
    try:
        number = float(value)
        return number if math.isfinite(number) else None
    except ValueError:
        pass
    try:
        return (parsedate_to_datetime(value) - parsedate_to_datetime(now or "")).total_seconds()
    except (ValueError, TypeError):
        return None


def _error_of(body: object) -> tuple[str, str, str]:
    """Message, type and code of an error body, in the spellings of OpenAI, Azure, vLLM and TEI."""
    if isinstance(body, Mapping):
        error = body.get("error", body)
        if isinstance(error, str):
            return error, str(body.get("error_type") or body.get("type") or ""), ""
        if isinstance(error, Mapping):
            if "detail" in error and "message" not in error:  # FastAPI's way
                return str(error["detail"]), "", ""
            return tuple(str(error.get(key) or "") for key in ("message", "type", "code"))  # type: ignore[return-value]
    return (" ".join(str(body).split()) if body else "", "", "")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Vectors by input index, shape (count, dimensions), float32, and what else an answer says."""

    vectors: Vectors
    tokens: int
    """Tokens billed; 0 where it does not say."""
    model: str
    packed: bool
    """Whether the vectors came as base64."""
    useless: Sequence[int] = ()
    """Inputs whose vector is missing or cannot be read, or holds NaN or infinity, or is zero: it has no direction, and
    no search would find it."""


def decode_vectors(content: bytes, count: int, dimensions: int | None) -> Decoded:
    """What an answer to `count` inputs holds.

    Raises BrokenAnswer where something is missing, doubled or of another length, WrongDimensions where `dimensions`
    is given and the vectors have others, and HiddenError.
    """
    body = _parsed(content)
    try:
        if body.get("error") and not body.get("data"):
            raise HiddenError(_status_of(body["error"]), body)
        rows = _by_index(body["data"], count)
    except (KeyError, TypeError, AttributeError) as error:
        raise BrokenAnswer(f"an answer that cannot be read ({type(error).__name__})") from error
    packed = any(isinstance(row, str) for row in rows)
    found = [_vector(row) for row in rows]
    lengths = {len(vector) for vector in found if vector is not None}
    if not lengths:
        raise BrokenAnswer("an answer without a vector")
    expected = dimensions if dimensions in lengths else max(lengths)
    if dimensions is None and len(lengths) > 1:
        raise BrokenAnswer("vectors of different lengths")
    if dimensions is not None and expected != dimensions:
        raise WrongDimensions(f"the model answered with {expected:,} dimensions, {dimensions:,} were expected")
    vectors = np.zeros((count, expected), dtype=np.float32)
    for place, vector in enumerate(found):
        if vector is not None and len(vector) == expected:
            vectors[place] = vector
    useless = np.flatnonzero(~(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))).tolist()
    return Decoded(vectors, _tokens_billed(body), str(body.get("model") or ""), packed, useless)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        return orjson.loads(content)  # type: ignore[no-any-return]
    except orjson.JSONDecodeError as error:
        # What some servers write for a vector that has no value; the standard has no such word.
        if b"NaN" in content or b"Infinity" in content:
            with suppress(ValueError, RecursionError):
                return json.loads(content)  # type: ignore[no-any-return]
        raise BrokenAnswer(f"an answer that cannot be read ({type(error).__name__})") from error


def _by_index(data: list[dict[str, Any]], count: int) -> list[Any]:
    """The vectors as they came, in the order of the inputs; None for an input that was left out."""
    rows: list[Any] = [None] * count
    indexes = [item.get("index", position) for position, item in enumerate(data)]
    # Left out in the middle: the others stand under their own index. Left out at the end, or numbered anew: unknown.
    gap = len(data) < count and len(data) > 0 and max(indexes) == count - 1
    if len(data) != count and not gap:
        raise BrokenAnswer(f"{len(data)} vectors for {count} inputs")
    if len(set(indexes)) < len(indexes) or not all(0 <= index < count for index in indexes):
        raise BrokenAnswer("an input was answered twice, or never asked")
    for index, item in zip(indexes, data, strict=True):
        rows[index] = item["embedding"]
    return rows


def _vector(row: object) -> np.ndarray[tuple[int], np.dtype[np.float32]] | None:
    """One vector, packed or as numbers; None where it is none."""
    try:
        if isinstance(row, str):
            vector = np.frombuffer(base64.b64decode(row, validate=True), dtype="<f4")
        else:
            vector = np.asarray(row, dtype=np.float32)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        return None
    return vector if vector.ndim == 1 and len(vector) else None


def _status_of(error: object) -> int:
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def _tokens_billed(body: Mapping[str, Any]) -> int:
    usage = body.get("usage")
    billed = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    return billed if isinstance(billed, int) and 0 < billed < MOST_TOKENS_BILLED else 0
