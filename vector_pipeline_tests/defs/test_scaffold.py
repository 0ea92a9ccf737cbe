"""`dg scaffold defs`: a defs.yaml that loads, and the folder of the texts if it is in the project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from vector_pipeline import VectorPipelineComponent

# Dagster itself calls what pydantic deprecates, and what it calls beta.
pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated", "ignore:.*is currently in beta")


@pytest.fixture
def sandbox() -> Iterator[Any]:
    with create_defs_folder_sandbox() as made:
        yield made


@pytest.mark.parametrize("params", [None, {"source": "exports/handbook"}])
def test_a_folder_of_the_project_is_made_and_what_is_written_loads(sandbox: Any, params: dict[str, str] | None) -> None:
    path = sandbox.scaffold_component(VectorPipelineComponent, "handbook", params)
    source = (params or {"source": "texts"})["source"]
    assert yaml.safe_load((path / "defs.yaml").read_text())["attributes"] == {"source": source}
    assert (sandbox.project_root / source).is_dir()
    with sandbox.load_component_and_build_defs(path) as (component, definitions):
        assert isinstance(component, VectorPipelineComponent)
        dg.Definitions.validate_loadable(definitions)


def test_a_folder_that_is_there_keeps_its_files(sandbox: Any) -> None:
    (sandbox.project_root / "texts").mkdir()
    (sandbox.project_root / "texts" / "a.txt").write_text("A text.")
    sandbox.scaffold_component(VectorPipelineComponent, "handbook", {"source": "texts"})
    assert (sandbox.project_root / "texts" / "a.txt").read_text() == "A text."


def test_a_url_makes_no_folder(sandbox: Any) -> None:
    before = set(sandbox.project_root.iterdir())
    path = sandbox.scaffold_component(VectorPipelineComponent, "handbook", {"source": "s3://bucket/texts"})
    assert yaml.safe_load((path / "defs.yaml").read_text())["attributes"] == {"source": "s3://bucket/texts"}
    assert set(sandbox.project_root.iterdir()) == before
