"""What goes to the embedding API and what comes back, how it is to be asked, and what that came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from vector_pipeline.embedding.answers import Vectors
from vector_pipeline.embedding.limits import Limits


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
    base_url: str | None = None
    api_key: SecretStr | None = None
    organization: str | None = None
    project: str | None = None
    timeout_seconds: float = 120.0
    retry_seconds: float = 600.0
    max_in_flight: int = 32
    limits: Limits | None = None

    def for_model(self, model: str, dimensions: int | None) -> ClientConfig:
        """The same for another model, whose limits are its own."""
        return (
            self
            if model == self.model and dimensions == self.dimensions
            else replace(self, model=model, dimensions=dimensions, limits=self.limits if model == self.model else None)
        )

    @property
    def bucket(self) -> str:
        """What shares one rate limit: base URL, organisation, project and model, never the key."""
        parts = (self.base_url or "default", self.organization or "", self.project or "", self.model)
        return "|".join(parts)


@dataclass(slots=True)
class Usage:
    """What was asked of the API; `tokens` are those billed, `seconds_waited` for the rate."""

    requests: int = 0
    inputs: int = 0
    tokens: int = 0
    retries: int = 0
    rate_limited: int = 0
    seconds_waited: float = 0.0


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
