"""What submission and harvest share: the SDK's client, its errors as ours, and messages about the queue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlsplit

import httpx2
import openai
import regex
from openai.types import Batch

from vector_pipeline.embedding.endpoint import explained_configuration, hide_query
from vector_pipeline.embedding.pacing.limits import MAX_LIMIT
from vector_pipeline.embedding.providers.base import Kind
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.errors import ProviderRefused, ProviderUnavailable, QuotaExhausted

METADATA_KEY = "vector_pipeline_batch"
"""The metadata key of a batch for our own key. It identifies a batch whose id we did not store."""

OVER = ("completed", "failed", "expired", "cancelled")

# "Enqueued token limit reached for MODEL in organization ORG. Limit: 3,000,000 enqueued tokens. …" (seen live, 2025)
_STATED_LIMIT = regex.compile(r"limit:?\s*(\d[\d,]{0,20})\s+enqueued", regex.IGNORECASE)


class NotKnown(ProviderRefused):
    """The API does not know a batch or file: it belongs to another account or no longer exists."""


def open_api(config: ClientConfig) -> openai.OpenAI:
    """The SDK's client for files and batches. Close it, or use it as a context manager."""
    address = urlsplit(config.address or OpenAI.base_url)
    with explained_configuration():
        return openai.OpenAI(
            # A user's own server may need no key, but the SDK requires one.
            api_key=config.access.key or "none",
            base_url=address._replace(query="", fragment="").geturl(),
            default_query=dict(parse_qsl(address.query)),
            http_client=openai.DefaultHttpxClient(auth=config.credentials, event_hooks={"request": [hide_query]}),
            organization=config.organization,
            project=config.project,
            timeout=600.0,
            # Reading and uploading may be repeated. Creating a batch may not, so `create` sets this to 0.
            max_retries=3,
        )


def problem_of(state: Batch, config: ClientConfig) -> str | None:
    """The error that a batch states; None if it states none."""
    found = state.errors.data if state.errors and state.errors.data else []
    return config.cleaned(f"{found[0].code}: {(found[0].message or '')[:300]}") if found else None


def queue_is_full(message: str) -> bool:
    """Whether a refusal means that the account's queue has no room for the batch. Otherwise the batch is at fault."""
    return "token_limit_exceeded" in message or "nqueued token limit" in message


def stated_limit(message: str) -> int | None:
    """The number of tokens that the account may have queued, if a refusal names it."""
    found = _STATED_LIMIT.search(message)
    limit = int(found[1].replace(",", "")) if found else 0
    return limit if 0 < limit <= MAX_LIMIT else None


@contextmanager
def explained(config: ClientConfig) -> Iterator[None]:
    """Turn the SDK's errors into ours, as for embeddings."""
    where = f"the Batch API of {config.where}"
    try:
        yield
    except openai.APIStatusError as error:
        body = error.body or error.message
        problem = OpenAI().classify(error.status_code, error.response.headers, body, config.cleaned)
        if problem.kind is Kind.QUOTA:
            raise QuotaExhausted(f"the account has no quota left ({problem.message}); see its billing page") from None
        if problem.kind in (Kind.RETRY, Kind.RATE_LIMITED):
            raise ProviderUnavailable(f"{where} cannot at present ({problem.message}); run again later") from None
        kind = NotKnown if error.status_code == 404 else ProviderRefused
        raise kind(f"{where} refuses ({problem.message})") from None
    except (openai.OpenAIError, httpx2.HTTPError) as error:
        # The SDK does not convert transport errors while it streams a file.
        cause = type(error.__cause__ or error).__name__
        raise ProviderUnavailable(f"{where}: connection lost ({cause}); run again later") from None
