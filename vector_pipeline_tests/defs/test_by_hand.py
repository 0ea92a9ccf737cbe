"""What a person may ask for in the UI that cannot be done, or only in another way, says so."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.status import read_status
from vector_pipeline_tests.support.pipelines import Ingest


def _materialize(
    pipeline: Pipeline, instance: dg.DagsterInstance, partition: str, *assets: str
) -> dg.ExecuteInProcessResult:
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey(asset) for asset in assets]
    return job.execute_in_process(instance=instance, partition_key=partition, asset_selection=keys, raise_on_error=False)


def _reason(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = result.get_step_failure_events()
    data = failed.step_failure_data.user_failure_data
    assert data is not None
    return data.description or ""


def test_a_stage_alone_whose_input_was_cleaned_up_says_what_to_select(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    run(corpus)
    (arrival,) = instance.get_dynamic_partitions("arrivals")
    Path(pipeline.stage_files.uri("documents", arrival)).unlink()
    result = _materialize(pipeline, instance, arrival, "chunks")
    assert not result.success
    assert "select `documents` too, and all stages after it" in _reason(result)
    assert _materialize(pipeline, instance, arrival, "documents", "chunks").success


def test_a_partition_that_is_no_arrival_is_refused(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("arrivals", ["foo"])
    result = _materialize(pipeline, instance, "foo", "documents")
    assert not result.success
    assert "partition 'foo' is not an arrival" in _reason(result)


def test_a_deleted_partition_of_a_loaded_arrival_can_be_had_again(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    run(corpus)
    (arrival,) = instance.get_dynamic_partitions("arrivals")
    instance.delete_dynamic_partition("arrivals", arrival)
    settings = pipeline.settings.model_copy(update={"source": str(corpus)})
    job = build_definitions(settings, opened=pipeline).resolve_job_def("scan")
    assert job.execute_in_process(instance=instance).success
    assert instance.get_dynamic_partitions("arrivals") == [arrival]


def test_a_confirmation_names_the_root_that_it_confirms(
    pipeline: Pipeline, instance: dg.DagsterInstance, tmp_path: Path, run: Ingest
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"This is the text of file {number}.")
    run(folder)
    for path in folder.iterdir():
        path.unlink()
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("scan")

    def scan(confirmed: str) -> dg.ExecuteInProcessResult:
        config = {"ops": {"source_files": {"config": {"confirm_deletions": confirmed}}}}
        return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)

    assert "'/elsewhere', which is not scanned: name one of" in _reason(scan("/elsewhere"))
    for confirmed, deleted in (("", 0), (str(folder.resolve()), 12)):
        (event,) = scan(confirmed).get_asset_materialization_events()
        assert event.materialization.metadata["deleted"].value == deleted


def test_status_has_the_reason_of_the_last_run_whatever_it_was(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    with pipeline.database.connect() as connection:
        connection.execute("ALTER TABLE chunk_sections RENAME TO elsewhere")
        assert run(corpus).pending == 3
        (first,) = {file["error"] for file in read_status(pipeline)["pending"]}
        assert "chunk_sections" in str(first)
        connection.execute("ALTER TABLE elsewhere RENAME TO chunk_sections")
    (arrival,) = instance.get_dynamic_partitions("arrivals")
    pipeline.stage_files.remove(["documents"], [arrival])
    assert not _materialize(pipeline, instance, arrival, "chunks").success
    assert run(corpus).loaded == 3
