"""What `dg scaffold defs vector_pipeline.VectorPipelineComponent NAME` writes: a defs.yaml that loads and runs."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster import scaffold_component
from pydantic import BaseModel, Field


class CorpusParams(BaseModel):
    """The options of `dg scaffold`."""

    source: str = Field(default="texts", description="Folder, or URL such as s3://bucket/folder, that holds the text.")


class CorpusScaffolder(dg.Scaffolder[CorpusParams]):
    """Writes a defs.yaml for one corpus."""

    @classmethod
    def get_scaffold_params(cls) -> type[CorpusParams]:
        """The model of the options."""
        return CorpusParams

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write the file. If the source is a folder of the project that does not exist, create it."""
        source = (request.params or CorpusParams()).source
        if "://" not in source and request.project_root is not None:
            (request.project_root / source).mkdir(parents=True, exist_ok=True)
        scaffold_component(request, {"source": source})
