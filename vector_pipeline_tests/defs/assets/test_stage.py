"""What the five assets of an arrival share, and when their code version says that a stage is out of date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vector_pipeline.defs.assets.stage import stage_asset
from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.names import STAGES
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.options import DagsterOptions
from vector_pipeline.settings import Settings

TEXT, VECTORS = {"documents", "chunks", "document_rows"}, {"token_batches", "embeddings"}


def versions(home: Path, **values: Any) -> dict[str, str | None]:
    definitions = build_definitions(Settings.of(home=home, **values))
    return {spec.key.path[-1]: spec.code_version for spec in definitions.resolve_all_asset_specs()}


@pytest.mark.parametrize(
    ("before", "after", "stale"),
    [
        ({}, {"chunk_tokens": 99}, TEXT),
        ({}, {"chunk_strategy": "paragraph"}, TEXT),
        ({}, {"text_field": "body"}, TEXT),
        ({}, {"context": "title"}, TEXT),
        ({}, {"openai_api_key": "sk-test"}, VECTORS),
        ({"openai_api_key": "sk-test"}, {"model": "text-embedding-3-large"}, VECTORS),
        ({"openai_api_key": "sk-test"}, {"dimensions": 256}, VECTORS),
        # What is paid, where, and how fast changes no row.
        ({"openai_api_key": "sk-test"}, {"openai_api_key": "sk-other", "max_in_flight": 2, "tier": "5"}, set()),
        ({}, {"source": "s3://texts", "rows_per_batch": 7, "backfill_cron": "0 4 * * *", "name": ""}, set()),
    ],
)
def test_a_setting_makes_the_stages_stale_whose_output_it_changes(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], stale: set[str]
) -> None:
    old, new = versions(tmp_path, **before), versions(tmp_path, **{**before, **after})
    assert {stage for stage in STAGES if old[stage] != new[stage]} == stale
    assert all(old[stage] for stage in STAGES)


def test_no_secret_is_in_a_code_version(tmp_path: Path) -> None:
    found = versions(tmp_path, openai_api_key="sk-do-not-show", openai_base_url="https://me:do-not-show@host/v1")
    assert not [version for version in found.values() if "do-not-show" in str(version)]


def test_what_the_host_and_the_pipeline_say_of_an_asset_is_added_up(tmp_path: Path) -> None:
    options = DagsterOptions(
        key_prefix=["search", "law"],
        group_name="search",
        owners=["team:search"],
        tags={"tier": "prod"},
        metadata={"cost centre": 7},
    )
    opening = Opening(Settings.of(home=tmp_path, name="law"), options=options)

    @stage_asset(
        opening,
        "chunks",
        columns={"text": ("string", "what it says")},
        kinds={"parquet"},
        reads="documents",
        after=["source_files"],
        needs=("postgres", "openai"),
        pool="of_the_host",
        metadata={"dagster/table_name": "law.chunks"},
        description="Chunks.",
    )
    def chunks(documents: object) -> None: ...

    key = dg.AssetKey(["search", "law", "chunks"])
    spec = chunks.specs_by_key[key]
    assert {dep.asset_key.path[-1] for dep in spec.deps} == {"documents", "source_files"}
    assert {dep.asset_key.path[0] for dep in spec.deps} == {"search"}
    assert (spec.group_name, list(spec.owners), spec.tags["tier"]) == ("search", ["team:search"], "prod")
    assert spec.kinds == {"parquet"}
    assert (spec.metadata["cost centre"], spec.metadata["dagster/table_name"]) == (7, "law.chunks")
    assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition)
    assert spec.partitions_def.name == "law_arrivals"
    assert chunks.required_resource_keys == {"law_postgres", "law_openai", "law_stages"}
    assert chunks.op.pool == "of_the_host"
