"""Every provider by its name: a new one is one more line here."""

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
    """A provider by its name. Raises ConfigurationError where there is none."""
    if name not in providers:
        known = ", ".join(sorted(providers))
        raise ConfigurationError(f"VECTOR_PIPELINE_PROVIDER is {name!r}: must be one of {known}")
    return providers[name]()


def known_model(model: str, providers: Mapping[str, Callable[[], Provider]] = PROVIDERS) -> KnownModel | None:
    """What is published of a model, whoever offers it; None where nothing is."""
    return next((found for make in providers.values() if (found := make().models.get(model))), None)
