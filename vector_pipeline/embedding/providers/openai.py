"""OpenAI's API (POST /v1/embeddings), and compatible servers: vLLM, TEI, Ollama, Azure and others.

They spell errors differently. `classify` looks at status, type, code, and at the few messages that are the only
difference between cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import httpx2
import orjson
import regex

from vector_pipeline.embedding.pacing.limits import RateHeaders
from vector_pipeline.embedding.providers.base import (
    Access,
    BrokenAnswer,
    Decoded,
    HiddenError,
    Kind,
    KnownModel,
    Problem,
    Question,
)
from vector_pipeline.embedding.providers.common import billed, parsed, stacked, wait_named
from vector_pipeline.embedding.requests import RequestLimits

# https://platform.openai.com/docs/guides/embeddings and https://platform.openai.com/docs/pricing, read 2026-11-23.
MODELS: Mapping[str, KnownModel] = MappingProxyType(
    {
        "text-embedding-3-small": KnownModel(1_536, True, 0.02),
        "text-embedding-3-large": KnownModel(3_072, True, 0.13),
        "text-embedding-ada-002": KnownModel(1_536, False, 0.10),
    }
)

BASE64 = "base64"
DIMENSIONS = "dimensions"

_NAMED_INPUT = regex.compile(r"input\[(\d{1,9})\]")

# Spellings of "no money left". The status is 429 as for a rate limit, but a retry never helps.
_QUOTA = ("insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "billing_not_active")

# Messages of a 400, 413 or 422: the request or an input is too large, and splitting may help.
_TOO_LARGE = regex.compile(
    r"too large|too long|maximum (?:context|input|request)|max(?:imum)? [\d,]+ tokens|max_tokens_per_request|"
    r"tokens_limits_reached|batch size|array_above_max_length|context length|must have less than",
    regex.IGNORECASE,
)

# Codes of refusals that concern every text.
_OF_SETTINGS = ("model_not_found", "invalid_api_key")

# With these a content filter or a firewall refuses a request for what one of its texts says.
_OF_FILTERS = (403, 405, 406, 415, 418, 451)

# Messages among these that mean the request as a whole. Later requests can then be smaller from the start.
_WHOLE_TOO_LARGE = regex.compile(
    r"batch size|array too long|array_above_max_length|max_tokens_per_request|maximum request size|"
    r"tokens_limits_reached|(?:request|body|entity|payload|content) too large",
    regex.IGNORECASE,
)


class OpenAI:
    """The API of OpenAI and of compatible servers."""

    name = "openai"
    key_variable = "OPENAI_API_KEY"
    base_url = "https://api.openai.com/v1"
    path = "/embeddings"
    # https://platform.openai.com/docs/api-reference/embeddings/create; the client sends less after a refusal.
    limits = RequestLimits()

    @property
    def models(self) -> Mapping[str, KnownModel]:
        """See Provider."""
        return MODELS

    def headers(self, access: Access) -> Mapping[str, str]:
        """See Provider."""
        found = {
            "Authorization": f"Bearer {access.key or 'none'}",
            "OpenAI-Organization": access.organization,
            "OpenAI-Project": access.project,
        }
        return {name: value for name, value in found.items() if value is not None}

    def body(self, question: Question) -> bytes:
        """See Provider."""
        try:
            return orjson.dumps(self.fields(question))
        except orjson.JSONEncodeError:
            for text in question.texts:
                text.encode()  # a lone surrogate has no bytes
            raise

    def fields(self, question: Question) -> dict[str, Any]:
        """The body as values. OpenAI's own models have one kind of vector; `fields` names the purpose to others."""
        body: dict[str, Any] = {
            **question.fields,
            "model": question.model,
            "input": list(question.texts),
            "encoding_format": "float" if BASE64 in question.without else "base64",
        }
        known = self.models.get(question.model)
        # Sent only if it changes something: some models have fixed dimensions, and their servers refuse the field.
        wanted = question.dimensions is not None and (known is None or known.dimensions != question.dimensions)
        if wanted and DIMENSIONS not in question.without:
            body["dimensions"] = question.dimensions
        return body

    def decode(self, content: bytes, question: Question) -> Decoded:
        """See Provider."""
        return self.read(parsed(content), question)

    def read(self, body: Any, question: Question) -> Decoded:
        """Like `decode`, for a body that is already parsed."""
        try:
            if body.get("error") and not body.get("data"):
                raise HiddenError(_status_of(body["error"]), body)
            rows = _by_index(body["data"], len(question.texts))
        except (KeyError, TypeError, AttributeError) as error:
            raise BrokenAnswer(f"an answer that cannot be read ({type(error).__name__})") from error
        vectors, useless = stacked(rows, question.dimensions)
        usage = body.get("usage")
        tokens = billed(usage.get("prompt_tokens")) if isinstance(usage, Mapping) else 0
        packed = any(isinstance(row, str) for row in rows)
        ignored = frozenset() if packed else frozenset({BASE64})
        return Decoded(vectors, tokens, str(body.get("model") or ""), useless, ignored)

    def classify(
        self, status: int, headers: Mapping[str, str], body: object, clean: Callable[[str], str] = lambda text: text
    ) -> Problem:
        """See Provider."""
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
            return _judge_input(status, message, f"{message} {kind} {code}", code, shown)
        certain = code in _OF_SETTINGS
        return Problem(Kind.REFUSED, shown, doubtful=status in _OF_FILTERS, repeatable=not certain)

    def rate(self, headers: Mapping[str, str], message: str) -> RateHeaders:
        """See Provider."""
        return RateHeaders.of(headers, message)

    def transport(self) -> httpx2.AsyncBaseTransport | None:
        """See Provider."""
        return None


def _judge_input(status: int, message: str, all_of_it: str, code: str, shown: str) -> Problem:
    if "encoding_format" in message or "base64" in message:
        return Problem(Kind.WITHOUT, shown, option=BASE64)
    if code == "model_not_found":
        return Problem(Kind.REFUSED, shown)
    if "dimension" in message.lower() or "matryoshka" in message.lower():
        return Problem(Kind.WITHOUT, shown, option=DIMENSIONS)
    named = _NAMED_INPUT.search(message)
    too_large = bool(_TOO_LARGE.search(all_of_it))
    if not (named or status in (413, 422) or too_large or "input" in message):
        return Problem(Kind.REFUSED, shown, doubtful=True)
    whole = not named and bool(_WHOLE_TOO_LARGE.search(all_of_it))
    culprit = int(named[1]) if named else None
    return Problem(Kind.SPLIT, shown, culprit=culprit, whole=whole, of_text=bool(named) or too_large)


def _by_index(data: list[dict[str, Any]], count: int) -> list[Any]:
    """The vectors in the order of the inputs; None for an input without one."""
    rows: list[Any] = [None] * count
    indexes = [item.get("index", position) for position, item in enumerate(data)]
    # If one is missing in the middle, the indexes of the others show it. If one is missing at the end, or the rest was
    # numbered again, it is unknown which one is missing.
    gap = 0 < len(data) < count and max(indexes) == count - 1
    if len(data) != count and not gap:
        raise BrokenAnswer(f"{len(data)} vectors for {count} inputs")
    if len(set(indexes)) < len(indexes) or not all(0 <= index < count for index in indexes):
        raise BrokenAnswer("an input was answered twice, or never asked")
    for index, item in zip(indexes, data, strict=True):
        rows[index] = item["embedding"]
    return rows


def _error_of(body: object) -> tuple[str, str, str]:
    """The message, type and code of an error body, as OpenAI, Azure, vLLM and TEI write them."""
    if isinstance(body, Mapping):
        error = body.get("error", body)
        if isinstance(error, str):
            return error, str(body.get("error_type") or body.get("type") or ""), ""
        if isinstance(error, Mapping):
            if "detail" in error and "message" not in error:  # FastAPI's way
                return str(error["detail"]), "", ""
            return tuple(str(error.get(key) or "") for key in ("message", "type", "code"))  # type: ignore[return-value]
    return (" ".join(str(body).split()) if body else "", "", "")


def _status_of(error: object) -> int:
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500
