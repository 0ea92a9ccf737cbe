"""The asset `retrieval_quality`: figures that the UI plots, and a check that is red when searches find too little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.names import Names
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline_tests.support.pipelines import Ingest

GOLDEN = """{"question": "what do bees make?", "source": "bees.txt", "answer": "Bees make honey"}
{"question": "김치는 무엇으로 담급니까?", "source": "김치.txt", "answer": "배추로 담급니다"}
{"question": "where is it?", "source": "none.txt", "answer": "nowhere"}
{"question": "how long?", "source": "bread.md", "answer": "for a whole day"}
"""


@pytest.fixture
def measured(pipeline: Pipeline, corpus: Path, run: Ingest, tmp_path: Path) -> Pipeline:
    """A loaded pipeline with a golden set: two questions, a file that does not exist, a quotation that does not."""
    run(corpus)
    golden = tmp_path / "golden.jsonl"
    golden.write_text(GOLDEN)
    return replace(pipeline, settings=pipeline.settings.model_copy(update={"golden_set": golden}))


def materialize(pipeline: Pipeline, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("retrieval_quality")], raise_on_error=False
    )


def test_a_pipeline_without_a_golden_set_does_not_have_it(pipeline: Pipeline) -> None:
    keys = build_definitions(pipeline.settings).get_repository_def().asset_graph.get_all_asset_keys()
    assert dg.AssetKey("retrieval_quality") not in keys


def test_its_names_are_those_that_names_gives(measured: Pipeline) -> None:
    graph = build_definitions(measured.settings).get_repository_def().asset_graph
    names = Names(golden_set=True)
    assert graph.get_all_asset_keys() == set(names.assets)
    assert set(graph.asset_check_keys) == set(names.checks)


def test_it_has_numbers_by_language_and_mode_and_names_lines_that_cannot_be_measured(
    measured: Pipeline, instance: dg.DagsterInstance
) -> None:
    assert materialize(measured, instance).success
    event = instance.get_latest_materialization_event(dg.AssetKey("retrieval_quality"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert (metadata["questions"].value, metadata["lines_not_measured"].value) == (2, 2)
    for mode in ("auto", "hybrid", "words", "meaning"):
        for language in ("all", "Latin", "Korean"):
            for figure in ("recall@5", "MRR", "nDCG@5"):
                parts = [metadata[f"{figure}{end}/{mode}/{language}"] for end in (" low", "", " high")]
                numbers = [
                    part.value for part in parts if isinstance(part, dg.FloatMetadataValue) and part.value is not None
                ]
                assert len(numbers) == 3
                assert [0, *numbers, 1] == sorted([0, *numbers, 1])
    assert metadata["recall@5/hybrid/all"].value == 1
    problems = metadata["problems"]
    assert isinstance(problems, dg.TableMetadataValue)
    assert [record.data["file"] for record in problems.records] == ["line 3", "line 4"]


def test_it_is_measured_once_after_each_run_of_the_index(measured: Pipeline, instance: dg.DagsterInstance) -> None:
    definitions = build_definitions(measured.settings, opened=measured)
    quality = dg.AssetSelection.assets("retrieval_quality").without_checks()
    cursor = dg.evaluate_automation_conditions(definitions, instance, asset_selection=quality).cursor

    def requested() -> int:
        nonlocal cursor
        found = dg.evaluate_automation_conditions(definitions, instance, asset_selection=quality, cursor=cursor)
        cursor = found.cursor
        return found.total_requested

    assert requested() == 0
    instance.report_runless_asset_event(dg.AssetMaterialization("vector_index"))
    assert [requested(), requested()] == [1, 0]


def test_its_check_is_red_below_the_wanted_recall(
    measured: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    (green,) = materialize(measured, instance).get_asset_check_evaluations()
    assert (green.check_name, green.passed) == ("retrieval_recall", True)
    golden = measured.settings.golden_set
    assert golden is not None
    # More files say the same than a search returns, so that it may miss the one that the line names.
    for number in range(9):
        (corpus / f"copy {number}.txt").write_text(f"Hives and bees, bees and hives, number {number}.")
    (corpus / "quiet.txt").write_text("Everybody was asleep by then.")
    run(corpus)
    golden.write_text('{"question": "bees and hives", "source": "quiet.txt", "answer": "Everybody was asleep"}\n')
    strict = replace(measured, settings=measured.settings.model_copy(update={"min_retrieval_recall": 0.5}))
    (red,) = materialize(strict, instance).get_asset_check_evaluations()
    assert not red.passed
    assert red.description is not None
    assert "at least 0.5 is wanted" in red.description


def test_a_golden_set_without_a_usable_line_fails_in_one_line(measured: Pipeline, instance: dg.DagsterInstance) -> None:
    golden = measured.settings.golden_set
    assert golden is not None
    golden.write_text('{"question": "where is it?", "source": "none.txt", "answer": "nowhere"}\n')
    result = materialize(measured, instance)
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "can be measured: line 1 nothing is loaded in none.txt" in str(failed.step_failure_data)
