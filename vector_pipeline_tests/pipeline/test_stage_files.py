"""What is kept between the stages where there is no room for it."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from vector_pipeline.defs.failures import failure
from vector_pipeline.errors import StorageError
from vector_pipeline.pipeline.stage_files import StageFiles


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """This process may write no larger file, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def stream(count: int) -> pa.RecordBatchReader:
    batch = pa.record_batch({"number": pa.array(range(count), pa.int64())})
    return pa.RecordBatchReader.from_batches(batch.schema, iter([batch]))


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path: Path) -> None:
    files = StageFiles(str(tmp_path))
    files.write("chunks", "a", stream(1))
    with files_of_at_most(4_096), pytest.raises(StorageError, match="set VECTOR_PIPELINE_STORAGE") as full:
        files.write("chunks", "a", stream(1_000_000))
    assert str(tmp_path) in str(full.value)
    assert isinstance(failure(full.value), dg.Failure)
    assert failure(full.value).allow_retries
    assert [path.name for path in (tmp_path / "chunks").iterdir()] == ["a.parquet"]
    with files.read("chunks", "a") as reader:
        assert reader.read_all().num_rows == 1
    # Arrow tries once more to write the end of the file when its writer is collected, and words the error. Python 3.11
    # does not bear that in the middle of parsing, which pytest does a lot of.
    del full
    gc.collect()


def test_an_error_of_the_stream_itself_is_not_taken_for_it(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        raise FileNotFoundError("a source went away")
        yield

    schema = pa.schema({"number": pa.int64()})
    with pytest.raises(FileNotFoundError):
        StageFiles(str(tmp_path)).write("chunks", "a", pa.RecordBatchReader.from_batches(schema, batches()))
