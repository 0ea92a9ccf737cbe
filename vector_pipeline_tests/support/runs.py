"""Runs of some of the pipeline's assets in this process, and the reason of one that failed."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import scan


def registered(pipeline: Pipeline, instance: dg.DagsterInstance, folder: Path) -> str:
    """The arrival with what a scan finds in a folder, none of whose files was written just now; its partition exists."""
    for path in folder.iterdir():
        os.utime(path, (1_000, 1_000))
    (arrival,) = scan(pipeline.database, open_source(str(folder)), ScanOptions()).arrivals
    instance.add_dynamic_partitions("arrivals", [arrival])
    return arrival


def materialize(
    pipeline: Pipeline, instance: dg.DagsterInstance, partition: str, *assets: str
) -> dg.ExecuteInProcessResult:
    """Materialize assets for a partition, as the UI does."""
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey(asset) for asset in assets]
    return job.execute_in_process(instance=instance, partition_key=partition, asset_selection=keys, raise_on_error=False)


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    """The metadata that a materialization of an asset shows, each as its plain value."""
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(asset)]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def rows_of(table: object) -> list[tuple[object, ...]]:
    """The rows of a table in the metadata, each as its cells."""
    assert isinstance(table, dg.TableMetadataValue)
    return [tuple(record.data.values()) for record in table.records]


def reason_of(result: dg.ExecuteInProcessResult) -> str:
    """The line that the UI shows for the step that failed."""
    (failed,) = result.get_step_failure_events()
    data = failed.step_failure_data.user_failure_data
    assert data is not None
    return data.description or ""
