"""Changing the model: a space of another model or other dimensions is filled beside the active one, then switched to."""

from __future__ import annotations

from typing import Any

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.model import model_dimensions, model_name
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import variable
from vector_pipeline.store import manifest
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.space import WORTH_AN_INDEX, Space, get_space
from vector_pipeline.store.spaces import require_complete, start_space, switch_space


def start(pipeline: Pipeline) -> dict[str, Any]:
    """Start (or take up again) the space of the settings' model, and have every loaded file embedded into it.

    Raises ConfigurationError where the dimensions are not known or that space is active already.
    """
    dimensions = model_dimensions(pipeline.settings)
    model = model_name(pipeline.settings)
    if dimensions is None:
        raise ConfigurationError(f"the dimensions of {model} are not known; set {variable('dimensions')}")
    with pipeline.database.connect(role="space") as connection:
        space = start_space(connection, model, dimensions)
        # Loaded once more, file by file: their texts are embedded into both spaces and no row of theirs changes.
        manifest.mark_stale_pending(connection, current=())
        return {"name": space.name, "model": model, "dimensions": dimensions}


def switch(pipeline: Pipeline, name: str, *, worth: int = WORTH_AN_INDEX) -> Space:
    """Make another space the one that searches see, its index built from `worth` vectors on, and its recall measured.

    Raises as `spaces.switch_space` does.
    """
    least = pipeline.settings.min_recall
    with pipeline.database.connect(role="space") as connection:
        require_complete(connection, get_space(connection, name))
        # What has landed since the last run is brought under the index; the last word on recall is the switch's.
        maintain_index(pipeline.database, worth=worth, recall=least)
        return switch_space(connection, name, least, worth=worth)
