"""The asset `chunks`: its figures, and files that hold nothing to search in."""

from __future__ import annotations

import base64
from pathlib import Path

import dagster as dg

from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.chunks import NO_TEXT
from vector_pipeline.stages.streams import DOCUMENTS, ChunkRow, DocumentRow, from_reader, to_reader
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
    """The readers reject such files themselves; a stage file of an earlier version may hold one."""
    arrival = registered(pipeline, instance, corpus)
    assert materialize(pipeline, instance, arrival, "documents").success
    with pipeline.stage_files.read("documents", arrival) as reader:
        rows = list(from_reader(reader, DocumentRow))
    blank = [row._replace(text=" \n\t") if row.source == "bees.txt" else row for row in rows]
    pipeline.stage_files.write("documents", arrival, to_reader(blank, DOCUMENTS))
    found = metadata_of(materialize(pipeline, instance, arrival, "chunks"), "chunks")
    assert (found["documents"], found["files_rejected"]) == (3, 1)
    with pipeline.database.connect() as connection:
        rejected = {f.path: f.error for f in manifest.files_with_status(connection, "rejected")}
        assert rejected == {"bees.txt": NO_TEXT}
        assert manifest.count_files(connection).pending == 2
