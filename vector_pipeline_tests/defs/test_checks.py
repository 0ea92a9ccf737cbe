"""Checks go red when they should, and say what to look at."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.names import Names
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline_tests.support.pipelines import Ingest


def _check(pipeline: Pipeline, instance: dg.DagsterInstance, name: str) -> dg.AssetCheckEvaluation:
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("index")
    result = job.execute_in_process(instance=instance)
    assert result.success
    return next(e for e in result.get_asset_check_evaluations() if e.check_name == name)


def test_table_matches_disk_is_red_until_the_difference_is_loaded(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    run(corpus)
    assert _check(pipeline, instance, "table_matches_disk").passed
    (corpus / "tea.txt").write_text("Green tea wants water of seventy degrees.")
    os.utime(corpus / "tea.txt", (1_000, 1_000))
    (corpus / "bees.txt").unlink()
    red = _check(pipeline, instance, "table_matches_disk")
    assert not red.passed
    assert red.description == "2 files differ"
    table = red.metadata["differences"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [(Path(str(r.data["file"])).name, r.data["outcome"]) for r in table.records] == [
        ("bees.txt", "deleted"),
        ("tea.txt", "missing"),
    ]
    run(corpus)
    assert _check(pipeline, instance, "table_matches_disk").passed


def test_a_source_that_is_away_makes_the_check_red_and_fails_no_run(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    run(corpus)
    corpus.rename(corpus.with_name("elsewhere"))
    red = _check(pipeline, instance, "table_matches_disk")
    assert not red.passed
    assert "is not on this machine any more" in (red.description or "")


def test_all_checks_are_made_after_the_index_and_not_after_each_scan(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    definitions = build_definitions(pipeline.settings, opened=pipeline)
    checks = dg.AssetSelection.checks(*Names().checks)
    cursor = dg.evaluate_automation_conditions(definitions, instance, asset_selection=checks).cursor

    def requested(asset: str) -> int:
        nonlocal cursor
        instance.report_runless_asset_event(dg.AssetMaterialization(asset))
        found = dg.evaluate_automation_conditions(definitions, instance, asset_selection=checks, cursor=cursor)
        cursor = found.cursor
        return found.total_requested

    assert requested("source_files") == 0
    assert requested("vector_index") == len(Names().checks)
