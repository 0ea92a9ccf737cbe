"""The embedding API as a Dagster resource, for the pipeline's own asset and for other people's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import dagster as dg
import numpy as np
from pydantic import Field

from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.pipeline.model import client_config
from vector_pipeline.queries.embed import embed_texts
from vector_pipeline.settings import Settings

Vectors = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class OpenAIResource(dg.ConfigurableResource[None]):
    """Embeddings, paced under the account's limits, for any asset.

        @dg.asset
        def titles(openai: OpenAIResource) -> None:
            vectors = openai.embed(["a title", "another"])

    The key, the base URL, the organisation and the project come from the environment as the SDK reads them, when a
    run starts: no secret is part of the configuration, which Dagster stores and shows. With a DATABASE_URL the rate
    limits are shared with all other users of that database, else they hold for this process.
    """

    model: str | None = Field(default=None, description="Model; VECTOR_PIPELINE_MODEL or its default when unset.")
    dimensions: int | None = Field(default=None, description="Dimensions, for models that can shorten vectors.")
    retry_seconds: float | None = Field(default=None, description="How long transient failures are retried.")
    timeout_seconds: float | None = Field(default=None, description="Time for one request.")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The resource of a pipeline's settings."""
        return cls(
            model=settings.model if "model" in settings.model_fields_set else None,
            dimensions=settings.dimensions,
            retry_seconds=settings.retry_seconds,
            timeout_seconds=settings.timeout_seconds,
        )

    def settings(self) -> Settings:
        """The environment's settings with this resource's fields on top. Raises ConfigurationError."""
        fields: dict[str, Any] = {
            "model": self.model,
            "dimensions": self.dimensions,
            "retry_seconds": self.retry_seconds,
            "timeout_seconds": self.timeout_seconds,
        }
        return Settings.from_environment(**{name: value for name, value in fields.items() if value is not None})

    def client_config(self) -> ClientConfig:
        """What the client is made with."""
        return client_config(self.settings())

    def embed(self, texts: str | Sequence[str]) -> Vectors:
        """Vectors of one text, shape (dimensions,), or of many, shape (len(texts), dimensions); float32.

        Raises ProviderRefused, ProviderUnavailable, and InputRejected naming a text that cannot be embedded.
        """
        return asyncio.run(self.aembed(texts))

    async def aembed(self, texts: str | Sequence[str]) -> Vectors:
        """The same as `embed`, for code that runs in an event loop."""
        return await embed_texts(self.settings(), texts)
