"""Change the model: fill a space of another model or other dimensions beside the active one, then switch to it."""

from __future__ import annotations

from typing import Any

from vector_pipeline.embedding.roles import Roles
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.model import model_dimensions, model_name, roles_to_start
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.evaluation.evaluate import require_no_worse
from vector_pipeline.settings import variable
from vector_pipeline.store import manifest
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.space import WORTH_AN_INDEX, Space, active_space, get_space
from vector_pipeline.store.spaces import require_complete, start_space, switch_space


def start(pipeline: Pipeline) -> dict[str, Any]:
    """Start or resume the space of the settings' model and prefixes, and mark all loaded files as pending.

    The next runs embed the files into that space. A known model gets its own prefixes where the settings leave them
    open. Raises ConfigurationError if the dimensions are not known or that space is already active.
    """
    model = model_name(pipeline.settings)
    with pipeline.database.connect(role="space") as connection:
        active = active_space(connection)
        same_model = active is not None and active.model == model
        dimensions = model_dimensions(pipeline.settings) or (active.dimensions if active and same_model else None)
        if dimensions is None:
            raise ConfigurationError(f"the dimensions of {model} are not known; set {variable('dimensions')}")
        roles = roles_to_start(pipeline.settings, active)
        if active is not None and active.holds(model, dimensions, roles.document):
            _refuse_queries_only(active, roles)
        space = start_space(connection, model, dimensions, roles, pipeline.settings.index_type)
        # The files are loaded once more. Their texts get vectors in both spaces, and their rows do not change.
        manifest.mark_stale_pending(connection, current=())
        return {"name": space.name, "model": model, "dimensions": dimensions}


def _refuse_queries_only(active: Space, roles: Roles) -> None:
    """Raise ConfigurationError if only what is sent with questions would differ: that takes no other vectors."""
    if roles.query != active.roles.query:
        raise ConfigurationError(
            f"space {active.name}, which is active, has these vectors already, and only questions would be sent with "
            f"another prefix: set {variable('query_prefix')} to {roles.query}, and nothing is embedded again"
        )


def switch(pipeline: Pipeline, name: str, *, worth: int = WORTH_AN_INDEX, anyway: bool = False) -> Space:
    """Make another space the active one. Before that its index is built (from `worth` vectors on) and measured.

    If there is a golden set, a space that answers it worse than the active one is refused, unless `anyway` is set.
    Raises the errors of `spaces.switch_space`, and ConfigurationError for a space that answers worse.
    """
    least = pipeline.settings.min_recall
    with pipeline.database.connect(role="space") as connection:
        require_complete(connection, get_space(connection, name))
        # Move what has landed since the last run under the index. `switch_space` makes the decisive test of recall.
        maintain_index(pipeline.database, worth=worth, recall=least, index_type=pipeline.settings.index_type)
        if pipeline.settings.golden_set is not None and not anyway:
            require_no_worse(pipeline, name)
        return switch_space(connection, name, least, worth=worth)
