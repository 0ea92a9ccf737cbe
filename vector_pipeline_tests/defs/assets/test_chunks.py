"""The asset `chunks`: its figures, and files that hold nothing to search in."""

from __future__ import annotations

import base64
from pathlib import Path

import dagster as dg

from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.chunks import NO_TEXT
from vector_pipeline.stages.streams import ChunkRow, from_reader
from vector_pipeline.store import manifest
from vector_pipeline_tests.support.runs import materialize, metadata_of, registered


def test_its_figures_are_those_of_the_chunks_that_it_wrote(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    arrival = registered(pipeline, instance, corpus)
    result = materialize(pipeline, instance, arrival, "documents", "chunks")
    with pipeline.stage_files.read("chunks", arrival) as reader:
        rows = list(from_reader(reader, ChunkRow))
    found = metadata_of(result, "chunks")
    assert (found["documents"], found["chunks"], found["dagster/partition_row_count"]) == (3, len(rows), len(rows))
    assert found["tokens"] == sum(row.token_count for row in rows)
    least, most = min(row.token_count for row in rows), max(row.token_count for row in rows)
    assert f"{len(rows)} chunks of {least} to {most} tokens" in str(found["chunk_lengths"])
    picture = str(found["chunk_lengths"]).partition("base64,")[2].partition(")")[0]
    assert base64.b64decode(picture).startswith(b"<svg ")


def test_a_file_without_anything_to_search_in_is_rejected_beside_the_others(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path
) -> None:
    (corpus / "blank.txt").write_text(" \n\t\n")
    (corpus / "dashes.md").write_text("---\ntitle: Nothing else\n---\n")
    arrival = registered(pipeline, instance, corpus)
    result = materialize(pipeline, instance, arrival, "documents", "chunks")
    with pipeline.database.connect() as connection:
        rejected = {f.path: f.error for f in manifest.files_with_status(connection, "rejected")}
        pending = manifest.count_files(connection).pending
    assert set(rejected) <= {"blank.txt", "dashes.md"}
    assert rejected["blank.txt"] is not None
    assert pending == 5 - len(rejected)
    found = metadata_of(result, "chunks")
    read = metadata_of(result, "documents")
    assert found["files_rejected"] == sum(reason == NO_TEXT for reason in rejected.values())
    assert found["files_rejected"] == len(rejected) - int(str(read["files_rejected"]))
