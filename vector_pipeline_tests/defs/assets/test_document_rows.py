"""The asset `document_rows`: what it loaded and deleted, which files need attention, and how an arrival is closed."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from vector_pipeline.defs.names import STAGES
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store import manifest
from vector_pipeline.store.failed_arrivals import failed_arrivals
from vector_pipeline_tests.support.runs import materialize, metadata_of, registered, rows_of


def test_rows_of_the_arrival_and_of_the_table_are_counted_apart(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    result = materialize(pipeline, instance, registered(pipeline, instance, corpus), *STAGES)
    first = metadata_of(result, "document_rows")
    assert first["files_loaded"] == 3
    assert first["dagster/partition_row_count"] == first["dagster/row_count"] == first["rows_written"]
    assert rows_of(first["files"]) == [(name, "loaded", "") for name in ("bees.txt", "bread.md", "김치.txt")]

    (corpus / "bees.txt").unlink()
    (corpus / "broken.jsonl").write_text('{"text": ')
    (corpus / "tea.txt").write_text("Green tea wants water of seventy degrees.")
    result = materialize(pipeline, instance, registered(pipeline, instance, corpus), *STAGES)
    second = metadata_of(result, "document_rows")
    assert (second["files_loaded"], second["files_deleted"], second["files_rejected"]) == (1, 1, 1)
    assert second["dagster/partition_row_count"] == 1
    gone = int(str(second["rows_deleted"]))
    assert second["dagster/row_count"] == int(str(first["dagster/row_count"])) - gone + 1
    # Files that need attention come first: a long table is cut.
    assert [row[:2] for row in rows_of(second["files"])] == [
        ("broken.jsonl", "rejected"),
        ("bees.txt", "deleted"),
        ("tea.txt", "loaded"),
    ]
    with pipeline.database.connect() as connection:
        assert failed_arrivals(connection) == []
        open_arrivals = connection.execute("SELECT count(*) FROM arrivals WHERE finished_at IS NULL").fetchone()
    assert open_arrivals == (0,)


def test_files_that_could_not_be_loaded_keep_the_arrival_open_with_the_reason(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    arrival = registered(pipeline, instance, corpus)
    assert materialize(pipeline, instance, arrival, *STAGES[:-1]).success
    with pipeline.database.connect() as connection:
        ((space,),) = connection.execute("SELECT name FROM spaces").fetchall()
        for table in (f"embeddings_{space}", f"embeddings_{space}_landing"):
            connection.execute(f"DELETE FROM {table}".encode())
    result = materialize(pipeline, instance, arrival, "document_rows")
    assert result.success
    found = metadata_of(result, "document_rows")
    assert (found["files_loaded"], found["files_pending"]) == (0, 3)
    reasons = {str(reason) for _, status, reason in rows_of(found["files"]) if status == "pending"}
    assert reasons
    assert all("have no vector yet" in reason for reason in reasons)
    with pipeline.database.connect() as connection:
        (failed,) = failed_arrivals(connection)
        assert (failed.arrival, failed.files, failed.failure) == (arrival, 3, "other")
        assert failed.error in reasons
        assert {f.error for f in manifest.files_with_status(connection, "pending")} == {failed.error}
    # With the vectors it is closed.
    assert materialize(pipeline, instance, arrival, "token_batches", "embeddings", "document_rows").success
    with pipeline.database.connect() as connection:
        assert failed_arrivals(connection) == []
        assert manifest.count_files(connection).loaded == 3
