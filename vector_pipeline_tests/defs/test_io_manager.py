"""The I/O manager: streams of the stages in Parquet, one file for each partition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from vector_pipeline.defs.io_manager import ParquetStages
from vector_pipeline.errors import SourceError
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


NUMBERS = pa.schema([("number", pa.int32())])


def batches(*numbers: int, error: Exception | None = None) -> pa.RecordBatchReader:
    """A stream with one record batch for each number, and then an error."""

    def made() -> Iterator[pa.RecordBatch]:
        for number in numbers:
            yield pa.record_batch([pa.array([number], pa.int32())], schema=NUMBERS)
        if error is not None:
            raise error

    return pa.RecordBatchReader.from_batches(NUMBERS, made())


def streamed(
    folder: Path, stream: Callable[[], pa.RecordBatchReader], *, partition: str = "A1"
) -> tuple[dg.ExecuteInProcessResult, list[int]]:
    """Write a stream as one asset and read it as the next one; returns what was read."""
    partitions = dg.StaticPartitionsDefinition(["A1", "A2"])
    read: list[int] = []

    @dg.asset(partitions_def=partitions, key_prefix="law", io_manager_key="stages")
    def numbers() -> pa.RecordBatchReader:
        return stream()

    @dg.asset(partitions_def=partitions, ins={"numbers": dg.AssetIn(key=["law", "numbers"])})
    def total(numbers: pa.RecordBatchReader) -> None:
        for batch in numbers:
            read.extend(batch.column("number").to_pylist())

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [numbers, total],
            instance=instance,
            partition_key=partition,
            resources={"stages": ParquetStages(base=str(folder))},
            raise_on_error=False,
        )
    return result, read


def test_a_stream_is_one_file_of_its_partition_with_its_rows_and_place(tmp_path: Path) -> None:
    result, read = streamed(tmp_path, lambda: batches(1, 2, 3))
    assert read == [1, 2, 3]
    path = tmp_path / "numbers" / "A1.parquet"
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(["law", "numbers"])]
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    assert metadata["dagster/partition_row_count"] == 3
    assert (metadata["dagster/uri"], metadata["bytes"]) == (str(path), path.stat().st_size)


def test_an_empty_stream_is_read_as_one(tmp_path: Path) -> None:
    result, read = streamed(tmp_path, batches)
    assert (result.success, read) == (True, [])
    assert (tmp_path / "numbers" / "A1.parquet").exists()


def test_an_error_in_a_stream_keeps_the_earlier_file_and_is_the_error_of_the_asset(tmp_path: Path) -> None:
    streamed(tmp_path, lambda: batches(7))
    result, read = streamed(tmp_path, lambda: batches(1, 2, error=ConnectionResetError("the server is gone")))
    assert not result.success
    assert read == []
    (failed,) = result.get_step_failure_events()
    assert failed.step_key == "law__numbers"
    error = failed.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    assert error is not None
    assert "the server is gone" in error.message
    assert [path.name for path in (tmp_path / "numbers").iterdir()] == ["A1.parquet"]
    assert pq.read_table(tmp_path / "numbers" / "A1.parquet").column("number").to_pylist() == [7]


def test_an_error_of_the_pipeline_in_a_stream_is_one_line(tmp_path: Path) -> None:
    result, _ = streamed(tmp_path, lambda: batches(1, error=SourceError("the share is not mounted")))
    assert reason_of(result) == "the share is not mounted"


def test_partitions_are_files_of_their_own(tmp_path: Path) -> None:
    streamed(tmp_path, lambda: batches(1))
    _, read = streamed(tmp_path, lambda: batches(2), partition="A2")
    assert read == [2]
    assert sorted(path.name for path in (tmp_path / "numbers").iterdir()) == ["A1.parquet", "A2.parquet"]
