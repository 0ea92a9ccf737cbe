"""The beginning of an asset's work: a partition that is no arrival is refused, and the reason of an error is kept."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.status import read_status
from vector_pipeline_tests.support.pipelines import Ingest
from vector_pipeline_tests.support.runs import materialize, reason_of


def test_a_partition_that_is_no_arrival_is_refused(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("arrivals", ["foo"])
    result = materialize(pipeline, instance, "foo", "documents")
    assert not result.success
    assert "partition 'foo' is not an arrival" in reason_of(result)


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
    assert not materialize(pipeline, instance, arrival, "chunks").success
    assert run(corpus).loaded == 3
