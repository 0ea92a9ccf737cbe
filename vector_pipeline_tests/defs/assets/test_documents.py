"""The asset `documents`: what its materialization shows of the files that were read and of those that were not."""

from __future__ import annotations

import threading
from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.documents import DocumentsOutcome
from vector_pipeline.store.run_locks import RunLocks
from vector_pipeline_tests.support.dev import wait_for
from vector_pipeline_tests.support.runs import materialize, metadata_of, registered, rows_of


def test_files_that_were_not_read_are_listed_with_their_reason(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    (corpus / "broken.jsonl").write_text('{"text": "Salt dissolves."}\n{"text": ')
    arrival = registered(pipeline, instance, corpus)
    (corpus / "bees.txt").unlink()
    outcomes: list[object] = []
    definitions = build_definitions(pipeline.settings, opened=pipeline, finished=outcomes.append)
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, partition_key=arrival, asset_selection=[dg.AssetKey("documents")])
    found = metadata_of(result, "documents")
    assert (found["files"], found["documents"], found["dagster/partition_row_count"]) == (2, 2, 2)
    assert (found["files_rejected"], found["files_postponed"]) == (1, 1)
    (rejected, postponed) = rows_of(found["problems"])
    assert rejected[:2] == ("broken.jsonl", "rejected")
    assert "line 2" in str(rejected[2])
    assert postponed[:2] == ("bees.txt", "postponed")
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert [line for line in lines if line.startswith("rejected ")] == [f"rejected broken.jsonl: {rejected[2]}"]
    (outcome,) = outcomes
    assert isinstance(outcome, DocumentsOutcome)
    assert list(outcome.rejected) == ["broken.jsonl"]


def test_an_arrival_that_another_run_has_loaded_meanwhile_is_not_read_again(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arrival = registered(pipeline, instance, corpus)
    results: list[dg.ExecuteInProcessResult] = []
    with RunLocks(pipeline.database, "other run") as locks, pipeline.database.connect() as connection:
        locks.hold_arrival(arrival)
        run = threading.Thread(target=lambda: results.append(materialize(pipeline, instance, arrival, "documents")))
        run.start()
        lines = ""

        def waits() -> bool:
            nonlocal lines
            lines += capfd.readouterr().err
            return "is being worked on elsewhere" in lines

        wait_for(waits, 25)  # a second line would follow after 30 s
        connection.execute("UPDATE source_files SET status = 'loaded'")
    run.join(30.0)
    (result,) = results
    assert result.success
    assert metadata_of(result, "documents")["files"] == 0
    logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "another run has already loaded this arrival; nothing is read again" in logged


def test_an_arrival_of_deletions_counts_them_and_reads_nothing(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    registered(pipeline, instance, corpus)
    with pipeline.database.connect() as connection:
        connection.execute("UPDATE source_files SET status = 'loaded'")
    for path in corpus.iterdir():
        path.unlink()
    result = materialize(pipeline, instance, registered(pipeline, instance, corpus), "documents", "chunks")
    assert result.success
    found = metadata_of(result, "documents")
    assert (found["deletions"], found["files"], found["source_bytes"]) == (3, 0, 0)
    assert metadata_of(result, "chunks")["chunk_lengths"] == "nothing to show"
