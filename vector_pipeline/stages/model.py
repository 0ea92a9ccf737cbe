"""Which model answers, and which spaces an arrival's texts are embedded into."""

from __future__ import annotations

from collections.abc import Sequence

from vector_pipeline.embedding.embedded_model import EMBEDDED_DIMENSIONS, EMBEDDED_MODEL
from vector_pipeline.embedding.models import resolve_dimensions
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import Settings, variable
from vector_pipeline.stages.token_batches import Target
from vector_pipeline.store import manifest, spaces


def model_name(settings: Settings) -> str:
    """The model that will answer: the embedded one unless a key or a base URL is set."""
    return EMBEDDED_MODEL if settings.uses_embedded_model else settings.model


def model_dimensions(settings: Settings) -> int | None:
    """Dimensions of its vectors; None for a model that is not known before its first answer."""
    if not settings.uses_embedded_model:
        return resolve_dimensions(settings.model, settings.dimensions)
    if settings.dimensions not in (None, EMBEDDED_DIMENSIONS):
        raise ConfigurationError(
            f"{variable('dimensions')} is {settings.dimensions}, but the embedded model has {EMBEDDED_DIMENSIONS}; "
            f"unset it, or set {variable('openai_api_key')} or {variable('openai_base_url')} to use another model"
        )
    return EMBEDDED_DIMENSIONS


def targets(connection: manifest.Connection, settings: Settings) -> Sequence[Target]:
    """The active space and, while one fills, the filling space; made on first use where dimensions are known.

    Raises SpaceMismatch where the active space belongs to another model than the settings name.
    """
    dimensions = model_dimensions(settings)
    active = spaces.active_space(connection)
    if active is None and dimensions is None:
        return [Target(model_name(settings), None)]
    space = spaces.open_space(connection, model_name(settings), dimensions)
    filling = spaces.filling_space(connection)
    return [Target(s.name, s) for s in (space, filling) if s is not None]
