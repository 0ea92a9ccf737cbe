"""What goes to the embedding API and what comes back, how it is to be asked, and what that came to."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from vector_pipeline.embedding.pacing.limits import Limits
from vector_pipeline.embedding.providers.base import Access, Provider, Vectors
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.errors import ConfigurationError

# What is shorter is no secret but a word, and may stand in any message.
MIN_SECRET_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class EmbeddingInput:
    """A text to be embedded, with its exact token count and what it is stored under."""

    text: str
    tokens: int
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """Vectors of some inputs: shape (len(inputs), dimensions), float32, in the order of `inputs`.

    `rejected` maps the content hash of a text that the API refuses to its reason; such a text is not in `inputs`.
    """

    inputs: Sequence[EmbeddingInput]
    vectors: Vectors
    tokens: int
    model: str
    rejected: Mapping[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Which model to ask, where, and within which bounds. Times are in seconds."""

    model: str
    dimensions: int | None = None
    base_url: str | None = field(default=None, repr=False)
    api_key: SecretStr | None = None
    organization: str | None = None
    project: str | None = None
    timeout_seconds: float = 120.0
    retry_seconds: float = 600.0
    max_in_flight: int = 32
    limits: Limits | None = None
    provider: Provider = field(default_factory=OpenAI, repr=False, compare=False)

    def for_model(self, model: str, dimensions: int | None) -> ClientConfig:
        """The same for another model, whose limits are its own."""
        return (
            self
            if model == self.model and dimensions == self.dimensions
            else replace(self, model=model, dimensions=dimensions, limits=self.limits if model == self.model else None)
        )

    @property
    def address(self) -> str | None:
        """The base URL without user and password, which are sent apart: what is logged of a request shows its URL."""
        if self.base_url is None:
            return None
        address = urlsplit(self.base_url)
        return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password of the base URL; None where it has none."""
        address = urlsplit(self.base_url or "")
        return (unquote(address.username or ""), unquote(address.password or "")) if "@" in address.netloc else None

    @property
    def safe_base_url(self) -> str | None:
        """The base URL without what may be secret in it: user, password and query."""
        return None if self.address is None else urlsplit(self.address)._replace(query="", fragment="").geturl()

    @property
    def where(self) -> str:
        """Who is asked for what, to be told to people."""
        return f"{self.safe_base_url or 'the API'} (model {self.model})"

    @property
    def base_url_variable(self) -> str:
        """The environment variable of the base URL, for messages."""
        return "OPENAI_BASE_URL" if self.provider.name == "openai" else "VECTOR_PIPELINE_BASE_URL"

    @property
    def bucket(self) -> str:
        """What shares one rate limit: base URL, organisation, project and model, never the key."""
        default = "default" if self.provider.name == "openai" else self.provider.name
        parts = (self.safe_base_url or default, self.organization or "", self.project or "", self.model)
        return "|".join(parts)

    @property
    def access(self) -> Access:
        """Who asks, as it is sent.

        Raises ConfigurationError where a header cannot hold it: sending it would fail with a message that shows it.
        """
        key = self.api_key.get_secret_value() if self.api_key else None
        for name, value in (
            (self.provider.key_variable, key),
            ("OPENAI_ORG_ID", self.organization),
            ("OPENAI_PROJECT_ID", self.project),
        ):
            if value and not (value.isascii() and value.isprintable()):
                raise ConfigurationError(
                    f"{name} holds a line break or another character that cannot be sent; copy it once more"
                )
        return Access(key, self.organization, self.project)

    def without_secrets(self, text: str) -> str:
        """What a server said, less the key and the base URL's password: some repeat what they were sent."""
        user, password = self.credentials or ("", "")
        basic = base64.b64encode(f"{user}:{password}".encode()).decode().rstrip("=")
        secrets = (self.api_key.get_secret_value() if self.api_key else "", password, quote(password), basic)
        for secret in secrets:
            # "none" and "EMPTY" are what people give to servers that want no key.
            if len(secret) >= MIN_SECRET_CHARACTERS:
                text = text.replace(secret, "***")
        return text


@dataclass(slots=True)
class Usage:
    """What was asked of the API; `tokens` are those billed, `seconds_waited` for the rate."""

    requests: int = 0
    inputs: int = 0
    tokens: int = 0
    retries: int = 0
    rate_limited: int = 0
    """Answers that said that the account's rate was used up."""
    seconds_waited: float = 0.0

    def __iadd__(self, more: Usage) -> Self:
        """Count another usage in."""
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(more, part.name))
        return self


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands."""

    usage: Usage
    in_flight: int
    seconds: float
    limits: Limits | None

    def __str__(self) -> str:
        rate = self.usage.tokens / max(self.seconds, 1e-9) * 60
        limit = self.limits.tokens_per_minute if self.limits else None
        against = f" of {limit:,}" if limit else ""
        return (
            f"{self.usage.inputs:,} texts embedded in {self.usage.requests:,} requests, "
            f"{rate:,.0f}{against} tokens a minute, {self.in_flight} requests in flight"
        )
