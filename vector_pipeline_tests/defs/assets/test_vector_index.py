"""The asset `vector_index`: materialized once after loads, and again for what was loaded meanwhile."""

from __future__ import annotations

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.pipeline.pipeline import Pipeline


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
