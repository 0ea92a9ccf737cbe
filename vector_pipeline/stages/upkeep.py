"""Upkeep: remove vectors that no chunk refers to, and stage files of finished arrivals."""

from __future__ import annotations

from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store import manifest
from vector_pipeline.store.counts import fold
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.sweep import sweep

STAGES = ("documents", "chunks", "token_batches")


def keep_in_order(pipeline: Pipeline) -> tuple[int, int]:
    """Remove what is no longer needed; returns the numbers of vectors and of stage files removed."""
    settings = pipeline.settings
    with Kept(pipeline.database, "upkeep") as kept:
        swept = kept.run(lambda connection: sweep(connection, settings.grace_seconds))
        done = kept.run(lambda connection: manifest.finished_arrivals(connection, settings.keep_stages_days))
        removed = pipeline.stage_files.remove(STAGES, [owner.arrival for owner in done])
        kept.run(lambda connection: manifest.note_stages_removed(connection, done))
        kept.run(fold)
    return swept, removed
