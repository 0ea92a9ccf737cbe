"""Imports what a run uses, for the process that the processes of runs are forked from.

It reads no setting and opens nothing. The modules are those that are otherwise imported on first use.
"""

import importlib

MODULES = (
    "dagster._cli.api",
    "vector_pipeline.definitions",
    "vector_pipeline.embedding.client",
    "vector_pipeline.pipeline.stage_files",
)

for module in MODULES:
    importlib.import_module(module)
