"""The embedding API as a Dagster resource, for the pipeline's own asset and for other people's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, Self

import dagster as dg
import numpy as np
from pydantic import Field, PrivateAttr

from vector_pipeline.embedding.providers.base import Purpose
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
    tier: str | None = Field(default=None, description="Preset of OpenAI's published limits: free, 1 to 5.")
    tokens_per_minute: int | None = Field(default=None, description="Tokens a minute at most.")
    requests_per_minute: int | None = Field(default=None, description="Requests a minute at most.")
    requests_per_day: int | None = Field(default=None, description="Requests a day at most.")
    max_in_flight: int | None = Field(default=None, description="Requests under way at once at most.")
    max_tokens_per_request: int | None = Field(default=None, description="Tokens of one request at most.")
    max_inputs_per_request: int | None = Field(default=None, description="Texts of one request at most.")
    _given: Settings | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The resource of a pipeline: all of its settings hold, and nothing is read from the environment."""
        resource = cls()
        resource._given = settings
        return resource

    def settings(self) -> Settings:
        """The pipeline's settings, or the environment's with this resource's fields on top.

        Raises ConfigurationError.
        """
        if self._given is not None:
            return self._given
        fields = {name: getattr(self, name) for name in type(self).model_fields if name in Settings.model_fields}
        return Settings.from_environment(**{name: value for name, value in fields.items() if value is not None})

    def client_config(self) -> ClientConfig:
        """What the client is made with."""
        return client_config(self.settings())

    def embed(self, texts: str | Sequence[str], *, purpose: Literal["document", "query"] = "document") -> Vectors:
        """Vectors of one text, shape (dimensions,), or of many, shape (len(texts), dimensions); float32.

        Some models embed a question otherwise than the texts that answer it: `purpose` says which these are.
        Raises ProviderRefused, ProviderUnavailable, and InputRejected naming a text that cannot be embedded.
        """
        return asyncio.run(self.aembed(texts, purpose=purpose))

    async def aembed(self, texts: str | Sequence[str], *, purpose: Literal["document", "query"] = "document") -> Vectors:
        """The same as `embed`, for code that runs in an event loop."""
        return await embed_texts(self.settings(), texts, self.client_config(), purpose=Purpose(purpose))


def openai_resource(settings: Settings) -> dg.ResourceDefinition:
    """`openai`, as a pipeline's own assets use it: with the pipeline's settings, which are no configuration of a run."""
    resource = OpenAIResource.of(settings)

    def openai(_: dg.InitResourceContext) -> OpenAIResource:
        return resource

    return dg.ResourceDefinition(
        openai, description="The embedding API, paced under the account's limits; see OpenAIResource."
    )
