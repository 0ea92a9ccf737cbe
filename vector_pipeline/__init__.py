"""Keeps a pgvector table in step with a folder or bucket of text.

`Corpus` searches. `OpenAIResource` is for other people's Dagster assets; `VectorPipelineComponent` and
`build_definitions` put a pipeline into a Dagster project, under the names that `Names` gives. All are imported on first
use: importing the package reads no environment and loads no Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vector_pipeline.defs.build import build_definitions
    from vector_pipeline.defs.component import VectorPipelineComponent
    from vector_pipeline.defs.names import Names
    from vector_pipeline.defs.openai_resource import OpenAIResource
    from vector_pipeline.defs.options import DagsterOptions
    from vector_pipeline.queries.corpus import Corpus
    from vector_pipeline.settings import Settings

_HOMES = {
    "Names": "vector_pipeline.defs.names",
    "VectorPipelineComponent": "vector_pipeline.defs.component",
    "Corpus": "vector_pipeline.queries.corpus",
    "DagsterOptions": "vector_pipeline.defs.options",
    "OpenAIResource": "vector_pipeline.defs.openai_resource",
    "build_definitions": "vector_pipeline.defs.build",
    "Settings": "vector_pipeline.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vector_pipeline' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


__all__ = [
    "Corpus",
    "DagsterOptions",
    "Names",
    "OpenAIResource",
    "Settings",
    "VectorPipelineComponent",
    "build_definitions",
]


def __dir__() -> list[str]:
    return [*globals(), *__all__]
