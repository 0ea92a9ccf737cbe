"""Each block of docs/dagster.md, run; the shell's are run by test_component."""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from vector_pipeline import Names, VectorPipelineComponent
from vector_pipeline.defs.names import CHECKS
from vector_pipeline_tests.support.docs import blocks

PAGE = Path(__file__).parents[2] / "docs" / "dagster.md"
TEXT = PAGE.read_text("utf-8")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECTOR_PIPELINE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("number", range(len(blocks(TEXT, "python"))))
def test_python_makes_definitions_that_load(number: int) -> None:
    names: dict[str, object] = {}
    exec(compile(blocks(TEXT, "python")[number], str(PAGE), "exec"), names)
    definitions = names["defs"]
    assert isinstance(definitions, dg.Definitions)
    dg.Definitions.validate_loadable(definitions)


# Dagster itself calls what pydantic deprecates, and what it calls beta.
@pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated", "ignore:.*is currently in beta")
@pytest.mark.parametrize("number", range(len(blocks(TEXT, "yaml"))))
def test_yaml_is_a_component_that_loads(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1/texts")
    document = yaml.safe_load(blocks(TEXT, "yaml")[number])
    assert document["type"] == "vector_pipeline.VectorPipelineComponent"
    with create_defs_folder_sandbox() as sandbox:
        # The type has the name of the public module here, not of the one that the class is written in.
        folder = sandbox.defs_folder_path / "corpus"
        folder.mkdir()
        (folder / "defs.yaml").write_text(yaml.safe_dump(document))
        with sandbox.load_component_and_build_defs(folder) as (component, definitions):
            assert isinstance(component, VectorPipelineComponent)
            dg.Definitions.validate_loadable(definitions)


@pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated", "ignore:.*is currently in beta")
def test_post_processing_changes_the_asset_that_it_names_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1/texts")
    (block,) = (found for found in blocks(TEXT, "yaml") if "post_processing" in found)
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "corpus"
        folder.mkdir()
        (folder / "defs.yaml").write_text(block)
        with sandbox.load_component_and_build_defs(folder) as (_, definitions):
            specs = {spec.key.path[-1]: spec for spec in definitions.resolve_all_asset_specs()}
    rows, documents = specs["document_rows"], specs["documents"]
    assert (rows.description, rows.kinds) == ("What the assistant reads.", {"postgres", "rag"})
    assert list(rows.owners) == ["team:assistant"]
    assert rows.metadata["contact"] == "search@example.com"
    assert rows.metadata["dagster/table_name"] == "handbook.document_chunks"  # added to, not replaced
    assert (documents.kinds, list(documents.owners)) == ({"python", "parquet"}, [])


def test_the_names_are_those_that_there_are() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| (`.+) \|$", TEXT, re.MULTILINE))
    listed = {kind: re.findall(r"`([^`]+)`", names) for kind, names in rows.items()}
    names = Names("handbook")
    assert listed == {
        "assets": [key.to_user_string() for key in names.assets],
        "checks": list(CHECKS),
        "partitions": [names.arrivals.name],
        "jobs": names.jobs,
        "sensors": names.sensors,
        "schedules": names.schedules,
        "resources": names.resources,
        "pools": names.pools,
    }
