"""Upkeep: remove vectors that no chunk refers to, and stage files of finished arrivals."""

from __future__ import annotations

from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store import manifest
from vector_pipeline.store.sweep import sweep

STAGES = ("documents", "chunks", "token_batches")


def keep_in_order(pipeline: Pipeline) -> tuple[int, int]:
    """Remove what is no longer needed; returns the numbers of vectors and of stage files removed."""
    settings = pipeline.settings
    with pipeline.database.connect(role="upkeep") as connection:
        swept = sweep(connection, settings.grace_seconds)
        done = manifest.finished_arrivals(connection, settings.keep_stages_days)
    return swept, pipeline.stage_files.remove(STAGES, done)
