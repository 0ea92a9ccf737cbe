"""Imports what a run uses, for the process that the processes of runs are forked from.

It reads no setting and opens nothing. The modules are those that are otherwise imported on first use. One that a version
of Dagster lacks, or that cannot be imported, is left out: the run that needs it imports it, and reports what is wrong.
"""

import importlib
import logging
from contextlib import suppress

MODULES = (
    "dagster._cli.api",
    "vector_pipeline.definitions",
    "vector_pipeline.embedding.client",
    "vector_pipeline.pipeline.stage_files",
    # Dagster's storage and executor, which it imports by the names in its configuration, and what they use.
    "dagster._core.instance.factory",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.root",
    "dagster._core.storage.sqlite_storage",
    "dagster._core.executor.in_process",
    "dagster._core.storage.migration.utils",
    "upath.implementations.local",
    # The embedded model's library, without its weights.
    "wordllama",
)


def _import_all() -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for module in MODULES:
        with suppress(Exception):
            importlib.import_module(module)
    # The import of wordllama sets up logging for the whole process. Every library would log to the terminal of `dev`.
    root.handlers[:] = handlers
    root.setLevel(level)


_import_all()
