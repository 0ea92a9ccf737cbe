"""A key prefix of the project's choice reaches whatever names an asset: ticks, runs, checks, lineage, counts."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline import DagsterOptions, Names, Settings, build_definitions
from vector_pipeline.defs.names import STAGES
from vector_pipeline.defs.opening import ORDINARY, TickLimits
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store.failed_arrivals import fail_attempt

PREFIX = ["search", "handbook"]
NAMES = Names("handbook", tuple(PREFIX))
SLOW = TickLimits(scan_seconds=0.0)


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str, corpus: Path) -> Settings:
    for path in corpus.iterdir():
        os.utime(path, (1_000, 1_000))
    return Settings.of(
        name="handbook",
        db_schema="handbook",
        home=tmp_path / "home",
        database_url=fresh_database_url,
        source=str(corpus),
    )


def definitions(pipeline: Pipeline, limits: TickLimits = ORDINARY) -> dg.Definitions:
    return build_definitions(pipeline.settings, opened=pipeline, options=DagsterOptions(key_prefix=PREFIX), ticks=limits)


def tick(pipeline: Pipeline, instance: dg.DagsterInstance, limits: TickLimits = ORDINARY) -> dg.SensorResult:
    sensor = definitions(pipeline, limits).resolve_sensor_def("handbook_source_files_sensor")
    found = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(found, dg.SensorResult)
    return found


def test_all_that_names_an_asset(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    defs = definitions(pipeline)
    graph = defs.get_repository_def().asset_graph
    assert graph.get_all_asset_keys() == set(NAMES.assets)
    assert set(graph.asset_check_keys) == set(NAMES.checks)
    for spec in defs.resolve_all_asset_specs():
        assert {dep.asset_key for dep in spec.deps} <= set(NAMES.assets)
        lineage = spec.metadata.get("dagster/column_lineage")
        columns = lineage.deps_by_column.values() if isinstance(lineage, dg.TableColumnLineage) else ()
        assert {dep.asset_key for deps in columns for dep in deps} <= set(NAMES.assets)

    found = tick(pipeline, instance)
    assert {event.asset_key for event in found.asset_events} == {NAMES.asset("source_files"), NAMES.asset("documents")}
    (request,) = found.run_requests or []
    assert (request.job_name, instance.get_dynamic_partitions("handbook_arrivals")) == (
        "handbook_ingest",
        [request.partition_key],
    )
    done = defs.resolve_job_def("handbook_ingest").execute_in_process(
        instance=instance, partition_key=request.partition_key
    )
    events = {event.asset_key: event.materialization for event in done.get_asset_materialization_events()}
    assert list(events) == [NAMES.asset(stage) for stage in STAGES]
    rows = events[NAMES.asset("document_rows")].metadata
    assert rows["dagster/partition_row_count"].value == rows["dagster/row_count"].value == 3
    assert instance.get_materialized_partitions(NAMES.asset("document_rows")) == {request.partition_key}

    index = defs.resolve_job_def("handbook_index").execute_in_process(instance=instance)
    checked = {dg.AssetCheckKey(e.asset_key, e.check_name): e.passed for e in index.get_asset_check_evaluations()}
    assert checked == dict.fromkeys(NAMES.checks, True)


def test_runs_of_its_assets_are_known_as_its_own(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    """What the UI launches has no job: it is known by the keys of its assets."""
    (request,) = tick(pipeline, instance).run_requests or []
    arrival = str(request.partition_key)
    job = definitions(pipeline).resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(
        job.get_subset(asset_selection={NAMES.asset("documents")}),
        asset_selection=frozenset({NAMES.asset("documents")}),
        tags={"dagster/partition": arrival},
        status=dg.DagsterRunStatus.STARTING,
    )
    assert not tick(pipeline, instance).run_requests
    with pipeline.database.connect() as connection:
        fail_attempt(connection, arrival, "it went wrong", "other", run=run.run_id)
    instance.report_run_failed(run)
    assert not [r for r in tick(pipeline, instance).run_requests or [] if r.partition_key != arrival]


def test_a_scan_that_a_tick_requests_runs(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    (request,) = tick(pipeline, instance, SLOW).run_requests or []
    assert request.job_name == "handbook_scan"
    done = (
        definitions(pipeline)
        .resolve_job_def("handbook_scan")
        .execute_in_process(instance=instance, run_config=request.run_config)
    )
    (event,) = done.get_asset_materialization_events()
    assert event.asset_key == NAMES.asset("source_files")
    assert event.materialization.metadata["new"].value == 3
