"""Runs of some of the pipeline's assets in this process, and the reason of one that failed."""

from __future__ import annotations

import dagster as dg

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.pipeline.pipeline import Pipeline


def materialize(
    pipeline: Pipeline, instance: dg.DagsterInstance, partition: str, *assets: str
) -> dg.ExecuteInProcessResult:
    """Materialize assets for a partition, as the UI does."""
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey(asset) for asset in assets]
    return job.execute_in_process(instance=instance, partition_key=partition, asset_selection=keys, raise_on_error=False)


def reason_of(result: dg.ExecuteInProcessResult) -> str:
    """The line that the UI shows for the step that failed."""
    (failed,) = result.get_step_failure_events()
    data = failed.step_failure_data.user_failure_data
    assert data is not None
    return data.description or ""
