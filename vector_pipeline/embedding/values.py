"""The values of the embedding client: its configuration, inputs, answers, usage and progress."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr

from vector_pipeline.embedding.pacing.limits import Limits
from vector_pipeline.embedding.providers.base import Access, Provider, Vectors
from vector_pipeline.embedding.providers.embedded import BUSY_SECONDS, Embedded
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.embedding.roles import NO_ROLES, Roles
from vector_pipeline.errors import ConfigurationError, counted
from vector_pipeline.settings import EMBEDDED_MODELS
from vector_pipeline.sources.base import printable

# A shorter value is not a secret but a word that may stand in any message.
MIN_SECRET_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class EmbeddingInput:
    """A text to embed, with its exact token count and the hash that its vector is stored under.

    `text` is what is sent, with the prefix of its role; `tokens` counts all of it.
    """

    text: str
    tokens: int
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The vectors of some inputs: shape (len(inputs), dimensions), float32, in the order of `inputs`.

    `rejected` maps the content hash of a text that the API refuses to the reason. Such a text is not in `inputs`.
    """

    inputs: Sequence[EmbeddingInput]
    vectors: Vectors
    tokens: int
    model: str
    rejected: Mapping[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The model, its address and the limits of the client. Times are in seconds."""

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
    roles: Roles = NO_ROLES
    """The model's roles. The client sends their parameters; the caller puts their prefixes before the texts."""

    def for_model(self, model: str, dimensions: int | None, roles: Roles | None = None) -> ClientConfig:
        """The same configuration for another model, without the limits of this one.

        An embedded model is asked in this process, also beside another provider: its space is still searched and loaded
        while one of an API fills.
        """
        if model in EMBEDDED_MODELS and self.provider.name != Embedded.name:
            roles = roles or NO_ROLES
            return ClientConfig(model, dimensions, timeout_seconds=BUSY_SECONDS, provider=Embedded(), roles=roles)
        limits = self.limits if model == self.model else None
        roles = self.roles if roles is None else roles
        return replace(self, model=model, dimensions=dimensions, limits=limits, roles=roles)

    @property
    def address(self) -> str | None:
        """The base URL without user and password. They are sent separately, because logs show the URL of a request."""
        if self.base_url is None:
            return None
        address = urlsplit(self.base_url)
        return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()

    @property
    def credentials(self) -> tuple[str, str] | None:
        """The user and the password of the base URL; None if it has none."""
        address = urlsplit(self.base_url or "")
        return (unquote(address.username or ""), unquote(address.password or "")) if "@" in address.netloc else None

    @property
    def safe_base_url(self) -> str | None:
        """The base URL without its possible secrets: user, password and query."""
        return None if self.address is None else urlsplit(self.address)._replace(query="", fragment="").geturl()

    @property
    def where(self) -> str:
        """The address and the model, for messages."""
        return f"{self.safe_base_url or 'the API'} (model {self.model})"

    @property
    def base_url_variable(self) -> str:
        """The environment variable of the base URL, for messages."""
        return "OPENAI_BASE_URL" if self.provider.name == "openai" else "VECTOR_PIPELINE_BASE_URL"

    @property
    def bucket(self) -> str:
        """The key of the rate limit: base URL, organisation, project and model, but never the API key."""
        default = "default" if self.provider.name == "openai" else self.provider.name
        parts = (self.safe_base_url or default, self.organization or "", self.project or "", self.model)
        return "|".join(parts)

    @property
    def access(self) -> Access:
        """The values for the headers of a request.

        Raises ConfigurationError if a header cannot hold one: sending it would fail with a message that shows it.
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

    def cleaned(self, text: str) -> str:
        """A server's message on one line, without control characters, the key and the base URL's password.

        Some servers repeat what they get, and Postgres cannot store every character.
        """
        user, password = self.credentials or ("", "")
        basic = base64.b64encode(f"{user}:{password}".encode()).decode().rstrip("=")
        secrets = (self.api_key.get_secret_value() if self.api_key else "", password, quote(password), basic)
        for secret in secrets:
            # People set "none" or "EMPTY" for servers that need no key.
            if len(secret) >= MIN_SECRET_CHARACTERS:
                text = text.replace(secret, "***")
        return printable(" ".join(text.split()))


@dataclass(slots=True)
class Usage:
    """Counts of the client. `tokens` were billed; `seconds_waited` is the time that the pacer delayed requests."""

    requests: int = 0
    inputs: int = 0
    tokens: int = 0
    retries: int = 0
    rate_limited: int = 0
    """The number of answers with status 429 for the account's rate limit."""
    seconds_waited: float = 0.0

    def __iadd__(self, more: Usage) -> Self:
        """Add another usage."""
        for part in fields(self):
            setattr(self, part.name, getattr(self, part.name) + getattr(more, part.name))
        return self


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run."""

    usage: Usage
    in_flight: int
    seconds: float
    limits: Limits | None

    def __str__(self) -> str:
        rate = self.usage.tokens / max(self.seconds, 1e-9) * 60
        limit = self.limits.tokens_per_minute if self.limits else None
        against = f" of {limit:,}" if limit else ""
        return (
            f"{counted(self.usage.inputs, 'text')} embedded in {counted(self.usage.requests, 'request')}, "
            f"{rate:,.0f}{against} tokens a minute, {counted(self.in_flight, 'request')} in flight"
        )
