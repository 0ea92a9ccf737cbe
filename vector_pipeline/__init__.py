"""Keeps a pgvector table in step with a folder or bucket of text.

`OpenAIResource` is for other people's Dagster assets, `build_definitions` for more than one pipeline in a code
location. Both are imported on first use: importing the package reads no environment and loads no Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vector_pipeline.defs.build import build_definitions
    from vector_pipeline.defs.openai_resource import OpenAIResource
    from vector_pipeline.settings import Settings

_HOMES = {
    "OpenAIResource": "vector_pipeline.defs.openai_resource",
    "build_definitions": "vector_pipeline.defs.build",
    "Settings": "vector_pipeline.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vector_pipeline' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


__all__ = ["OpenAIResource", "Settings", "build_definitions"]
