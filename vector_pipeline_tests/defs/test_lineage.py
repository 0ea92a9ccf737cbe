"""The lineage of columns: every column that the UI shows comes from columns that the UI shows, or begins here."""

from __future__ import annotations

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.names import STAGES, Names
from vector_pipeline.settings import Settings

BEGINS = {
    # What is in a file is in no column of the manifest.
    "documents": {"text", "metadata", "encoding"},
    "chunks": set(),
    # Numbers of planned requests, and the space that is active then.
    "token_batches": {"batch", "space"},
    "embeddings": {"created_at"},
    # Postgres fills them in, the root from the manifest.
    "document_rows": {"created_at", "updated_at", "root"},
}
"""Columns that come from no column of the assets before theirs."""


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dg.AssetSpec]:
    """The assets of a pipeline with a prefix, by their names without it."""
    settings = Settings.of(home=tmp_path_factory.mktemp("home"), name="law")
    return {spec.key.path[-1]: spec for spec in build_definitions(settings).resolve_all_asset_specs()}


def columns(spec: dg.AssetSpec) -> set[str]:
    schema = spec.metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    return {column.name for column in schema.columns}


def lineage(spec: dg.AssetSpec) -> dict[str, list[dg.TableColumnDep]]:
    found = spec.metadata["dagster/column_lineage"]
    assert isinstance(found, dg.TableColumnLineage)
    return {column: list(sources) for column, sources in found.deps_by_column.items()}


@pytest.mark.parametrize("asset", STAGES)
def test_every_column_comes_from_somewhere_or_begins_here(specs: dict[str, dg.AssetSpec], asset: str) -> None:
    assert set(lineage(specs[asset])) == columns(specs[asset]) - BEGINS[asset]
    assert BEGINS[asset] <= columns(specs[asset])


@pytest.mark.parametrize("asset", STAGES)
def test_every_source_is_a_column_of_an_asset_before(specs: dict[str, dg.AssetSpec], asset: str) -> None:
    before = {dep.asset_key for dep in specs[asset].deps}
    for column, sources in lineage(specs[asset]).items():
        assert sources, column
        for source in sources:
            assert source.asset_key in before, column
            assert source.column_name in columns(specs[source.asset_key.path[-1]]), column


def test_rows_lead_back_to_the_files_of_the_source(specs: dict[str, dg.AssetSpec]) -> None:
    names = Names("law")
    column, assets = "source", []
    for asset in ("document_rows", "chunks", "documents"):
        (source,) = lineage(specs[asset])[column]
        assets.append(source.asset_key)
        column = source.column_name
    assert assets == [names.asset(name) for name in ("chunks", "documents", "source_files")]
    assert column == "path"
