"""The I/O manager: streams of the stages in Parquet, one file for each partition."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline_tests.support.pipelines import Ingest
from vector_pipeline_tests.support.runs import materialize, reason_of


def test_a_stage_alone_whose_input_was_cleaned_up_says_what_to_select(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    run(corpus)
    (arrival,) = instance.get_dynamic_partitions("arrivals")
    Path(pipeline.stage_files.uri("documents", arrival)).unlink()
    result = materialize(pipeline, instance, arrival, "chunks")
    assert not result.success
    assert "select `documents` too, and all stages after it" in reason_of(result)
    assert materialize(pipeline, instance, arrival, "documents", "chunks").success
