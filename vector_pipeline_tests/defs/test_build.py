"""A pipeline in a code location that has definitions of its own, under the same words and with its own executor."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline import Names, Settings, build_definitions
from vector_pipeline.defs.names import CHECKS
from vector_pipeline.defs.options import DagsterOptions


@dg.asset
def documents() -> None: ...


@dg.asset
def exported_texts() -> None: ...


@dg.op
def heavy_work() -> None: ...


@dg.job
def ingest() -> None:
    heavy_work()


@dg.schedule(job=ingest, cron_schedule="0 1 * * *")
def backfill_schedule() -> dg.RunRequest:
    return dg.RunRequest()


HOST = dg.Definitions(
    assets=[documents, exported_texts],
    jobs=[ingest],
    schedules=[backfill_schedule],
    resources={"postgres": "the host's", "openai": "the host's", "stages": "the host's", "source": "the host's"},
    executor=dg.multiprocess_executor,
)


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str) -> Settings:
    return Settings.of(name="handbook", db_schema="handbook", home=tmp_path, database_url=fresh_database_url)


def test_nothing_of_the_host_is_touched(settings: Settings) -> None:
    ours = build_definitions(settings)
    merged = dg.Definitions.merge(HOST, ours)
    dg.Definitions.validate_loadable(merged)
    repository = merged.get_repository_def()
    assert repository.get_job("ingest").executor_def is dg.multiprocess_executor
    assert ours.executor is None
    assert not ours.loggers
    for name in Names("handbook").jobs:
        assert repository.get_job(name).executor_def is dg.in_process_executor


def test_names_are_those_that_names_gives(settings: Settings) -> None:
    names = Names("handbook")
    repository = build_definitions(settings).get_repository_def()
    graph = repository.asset_graph
    assert graph.get_all_asset_keys() == set(names.assets)
    assert set(graph.asset_check_keys) == set(names.checks)
    assert {name for name in repository.job_names if not name.startswith("__")} == set(names.jobs)
    assert {sensor.name for sensor in repository.sensor_defs} == set(names.sensors)
    assert {schedule.name for schedule in repository.schedule_defs} == set(names.schedules)
    assert set(repository.get_top_level_resources()) >= set(names.resources)
    pools = {pool for key in names.assets for pool in graph.get(key).pools or ()}
    assert pools == set(names.pools)
    assert {check.name: check.asset_key.path[-1] for check in names.checks} == CHECKS


def test_everything_is_described_and_owned(settings: Settings) -> None:
    options = DagsterOptions(owners=["team:search"], tags={"tier": "prod"}, freshness=_an_hour())
    definitions = build_definitions(settings, options=options)
    repository = definitions.get_repository_def()
    for spec in definitions.resolve_all_asset_specs():
        assert list(spec.owners) == ["team:search"], spec.key
        assert spec.tags["tier"] == "prod"
        assert spec.description
        assert "dagster/code_references" in spec.metadata
        if spec.partitions_def is not None:
            assert spec.code_version
            assert "dagster/column_lineage" in spec.metadata
    late = {spec.key.path[-1] for spec in definitions.resolve_all_asset_specs() if spec.freshness_policy is not None}
    assert late == {"source_files", "vector_index"}
    tables = {
        spec.key.path[-1]: spec.metadata["dagster/table_name"]
        for spec in definitions.resolve_all_asset_specs()
        if "dagster/table_name" in spec.metadata
    }
    assert tables == {"source_files": "handbook.source_files", "document_rows": "handbook.document_chunks"}
    for sensor in repository.sensor_defs:
        assert sensor.description, sensor.name
    for resource in repository.get_top_level_resources().values():
        assert "lambda" not in getattr(resource.resource_fn, "__name__", "")


def _an_hour() -> dg.FreshnessPolicy:
    from datetime import timedelta

    return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=1))


def test_the_code_version_changes_with_what_files_are_loaded_with(settings: Settings) -> None:
    def versions(**changes: object) -> dict[str, str | None]:
        changed = settings.model_copy(update=changes)
        return {spec.key.path[-1]: spec.code_version for spec in build_definitions(changed).resolve_all_asset_specs()}

    before, after = versions(), versions(chunk_tokens=99)
    assert before["documents"] != after["documents"]
    assert before["embeddings"] == after["embeddings"]
    other = versions(openai_base_url="http://127.0.0.1:9/v1", model="text-embedding-3-large")
    assert before["embeddings"] != other["embeddings"]


def test_an_asset_that_writes_the_source_is_followed_by_a_scan(settings: Settings) -> None:
    options = DagsterOptions(deps=[dg.AssetKey("exported_texts")])
    merged = dg.Definitions.merge(HOST, build_definitions(settings, options=options))
    source_files = Names("handbook").asset("source_files")
    with dg.DagsterInstance.ephemeral() as instance:
        selection = dg.AssetSelection.assets(source_files)
        first = dg.evaluate_automation_conditions(merged, instance, asset_selection=selection)
        assert first.total_requested == 0
        instance.report_runless_asset_event(dg.AssetMaterialization("exported_texts"))
        second = dg.evaluate_automation_conditions(merged, instance, asset_selection=selection, cursor=first.cursor)
        assert second.total_requested == 1


def test_a_key_prefix_of_the_project_s_choice(settings: Settings) -> None:
    options = DagsterOptions(key_prefix=["search", "handbook"])
    repository = build_definitions(settings, options=options).get_repository_def()
    assert dg.AssetKey(["search", "handbook", "documents"]) in repository.asset_graph.get_all_asset_keys()
    assert repository.has_job("handbook_ingest")
