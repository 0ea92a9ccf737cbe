"""What is kept between the stages where there is no room for it."""

from __future__ import annotations

import gc
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import fsspec
import pyarrow as pa
import pytest

from vector_pipeline.defs.failures import failure
from vector_pipeline.errors import StorageError
from vector_pipeline.pipeline.stage_files import StageFiles
from vector_pipeline.stages.streams import CHUNKS, TOKEN_BATCHES, ChunkRow, PlannedText, from_reader, to_reader
from vector_pipeline.text.documents import content_hash


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


TEXTS = [f"text {n} about the sea" for n in range(500)]


def chunks(**changed: Any) -> pa.RecordBatchReader:
    rows = [
        ChunkRow(b"k" * 16, "a.txt", "1", "utf-8", "a.txt", text, "{}", n, n, n + 1, 4, content_hash(text))
        for n, text in enumerate(TEXTS)
    ]
    return to_reader([row._replace(**changed) for row in rows], CHUNKS)


def read_all(base: str) -> int:
    with StageFiles(base).read("chunks", "a") as reader:
        return len(list(from_reader(reader, ChunkRow)))


def damage(base: str, change: Callable[[bytearray], bytes]) -> None:
    filesystem, path = fsspec.url_to_fs(f"{base}/chunks/a.parquet")
    data = bytearray(filesystem.cat_file(path))
    filesystem.pipe_file(path, bytes(change(data)))
    filesystem.invalidate_cache()


def flip(place: int) -> Callable[[bytearray], bytes]:
    def change(data: bytearray) -> bytes:
        data[place % len(data)] ^= 0x10
        return bytes(data)

    return change


@pytest.fixture(params=["folder", "bucket"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else str(request.getfixturevalue("bucket"))


@pytest.mark.slow
def test_a_damaged_file_is_said_in_a_line(base: str) -> None:
    StageFiles(base).write("chunks", "a", chunks())
    assert read_all(base) == 500
    for change in (bytes, lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"PAR1" * 100, flip(-6)):
        StageFiles(base).write("chunks", "a", chunks())
        damage(base, change)
        if change is bytes:
            assert read_all(base) == 500
            continue
        with pytest.raises(StorageError, match=r"chunks/a\.parquet' cannot be read .*ingest`, writes it again"):
            read_all(base)


def test_no_changed_byte_is_taken_for_what_was_written(tmp_path: Path) -> None:
    """What lies in a bucket for months may lose a bit."""
    base = str(tmp_path)
    moments = random.Random(1)
    size = StageFiles(base).write("chunks", "a", chunks()).bytes
    whole = (tmp_path / "chunks/a.parquet").read_bytes()
    with StageFiles(base).read("chunks", "a") as reader:
        written = list(from_reader(reader, ChunkRow))
    for _ in range(300):
        (tmp_path / "chunks/a.parquet").write_bytes(flip(moments.randrange(size))(bytearray(whole)))
        try:
            with StageFiles(base).read("chunks", "a") as reader:
                assert list(from_reader(reader, ChunkRow)) == written
        except StorageError:
            continue


@pytest.mark.parametrize(
    ("reader", "says"),
    [
        (chunks(text="another text"), "has another hash"),
        (chunks(content_hash=b"x" * 16), "has another hash"),
        (chunks(metadata=None), "a value is missing"),
        (stream(3), "its columns are others"),
        (to_reader([PlannedText(1, "s", content_hash("t"), "t", 1)], TOKEN_BATCHES), "its columns are others"),
    ],
)
def test_what_another_program_wrote_is_refused(tmp_path: Path, reader: pa.RecordBatchReader, says: str) -> None:
    StageFiles(str(tmp_path)).write("chunks", "a", reader)
    with pytest.raises(StorageError, match=says):
        read_all(str(tmp_path))
