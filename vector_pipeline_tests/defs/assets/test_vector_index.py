"""The asset `vector_index`: materialized once after loads, and again for what was loaded meanwhile."""

from __future__ import annotations

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store.space import active_space
from vector_pipeline.store.spaces import start_space
from vector_pipeline_tests.support.corpus import load
from vector_pipeline_tests.support.runs import metadata_of


def materialized(instance: dg.DagsterInstance, asset: str, partition: str | None = None) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


@pytest.mark.parametrize("late", ["in the tick after the request", "in the tick after the end of the run"])
def test_what_is_loaded_while_the_index_is_kept_has_it_kept_again(
    pipeline: Pipeline, instance: dg.DagsterInstance, late: str
) -> None:
    definitions = build_definitions(pipeline.settings, opened=pipeline)
    index = dg.AssetSelection.assets("vector_index").without_checks()
    instance.add_dynamic_partitions("arrivals", ["first", "second"])
    cursor = dg.evaluate_automation_conditions(definitions, instance, asset_selection=index).cursor

    def requested() -> int:
        nonlocal cursor
        found = dg.evaluate_automation_conditions(definitions, instance, asset_selection=index, cursor=cursor)
        cursor = found.cursor
        return found.total_requested

    assert requested() == 0
    materialized(instance, "document_rows", "first")
    assert requested() == 1
    if late == "in the tick after the end of the run":
        assert requested() == 0
    materialized(instance, "vector_index")
    materialized(instance, "document_rows", "second")
    assert requested() == 1
    materialized(instance, "vector_index")
    assert [requested(), requested()] == [0, 0]


def test_its_figures_are_those_of_the_indexes(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    texts = [f"text number {number}" for number in range(20)]
    with pipeline.database.connect() as connection:
        load(connection, "A1", {"a.txt": texts, "b.txt": texts[:5]})
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("index")
    selection = [dg.AssetKey("vector_index")]
    found = metadata_of(job.execute_in_process(instance=instance, asset_selection=selection), "vector_index")
    assert found["dagster/row_count"] == len(texts)
    assert (found["vectors_landing"], found["vectors_moved"]) == (0, len(texts))
    # So few texts are read completely; an index would cost more.
    assert (found["lexical/landing"], found["lexical/texts"], found["indexed"]) == (len(texts), 0, False)
    assert (found["vectors_swept"], found["stages_removed"]) == (0, 0)


def test_with_two_spaces_the_figures_of_each_have_its_name(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    with pipeline.database.connect() as connection:
        load(connection, "A1", {"a.txt": ["one", "two", "three"]})
        filling = start_space(connection, "other-model", 8).name
        active = active_space(connection)
        assert active is not None
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("index")
    selection = [dg.AssetKey("vector_index")]
    found = metadata_of(job.execute_in_process(instance=instance, asset_selection=selection), "vector_index")
    assert (found[f"{active.name}/vectors"], found[f"{filling}/vectors"]) == (3, 0)
    assert "dagster/row_count" not in found
