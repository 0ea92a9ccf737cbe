"""The asset `source_files`: what a person may set when they materialize it, and what it reports."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline_tests.support.pipelines import Ingest
from vector_pipeline_tests.support.runs import metadata_of, reason_of, rows_of


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

    assert "'/elsewhere', which is not scanned: name one of" in reason_of(scan("/elsewhere"))
    for confirmed, deleted in (("", 0), (str(folder.resolve()), 12)):
        (event,) = scan(confirmed).get_asset_materialization_events()
        assert event.materialization.metadata["deleted"].value == deleted


def test_what_a_scan_found_and_the_state_of_all_files_are_shown(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    (corpus / "photo.raw").write_bytes(b"not a text")
    (corpus / "link.txt").symlink_to("/etc/hostname")
    settings = pipeline.settings.model_copy(update={"source": str(corpus)})
    job = build_definitions(settings, opened=pipeline).resolve_job_def("scan")
    found = metadata_of(job.execute_in_process(instance=instance), "source_files")
    assert (found["new"], found["files_pending"], found["files_loaded"], found["dagster/row_count"]) == (3, 3, 0, 3)
    assert found["files_not_read"] == 1
    assert [path for path, _ in rows_of(found["passed_over"])] == ["link.txt"]
    (arrival,) = instance.get_dynamic_partitions("arrivals")
    assert found["pending_arrivals"] == f"- `{arrival}`"
    again = metadata_of(job.execute_in_process(instance=instance), "source_files")
    assert (again["new"], again["unchanged"], again["dagster/row_count"]) == (0, 3, 3)
    assert instance.get_dynamic_partitions("arrivals") == [arrival]
