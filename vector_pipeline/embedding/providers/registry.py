"""All providers by name. A new provider is one more line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from vector_pipeline.embedding.providers.base import KnownModel, Provider
from vector_pipeline.embedding.providers.embedded import Embedded
from vector_pipeline.embedding.providers.openai import OpenAI
from vector_pipeline.errors import ConfigurationError

PROVIDERS: Mapping[str, Callable[[], Provider]] = MappingProxyType(
    {
        "openai": OpenAI,
        "embedded": Embedded,
    }
)


def provider_named(name: str, providers: Mapping[str, Callable[[], Provider]] = PROVIDERS) -> Provider:
    """Create the provider with a name. Raises ConfigurationError if there is none."""
    if name not in providers:
        known = ", ".join(sorted(providers))
        raise ConfigurationError(f"VECTOR_PIPELINE_PROVIDER is {name!r}: must be one of {known}")
    return providers[name]()


def known_model(model: str, providers: Mapping[str, Callable[[], Provider]] = PROVIDERS) -> KnownModel | None:
    """A model that one of the providers lists; None if none does."""
    return next((found for make in providers.values() if (found := make().models.get(model))), None)
