"""The stage files: one Parquet file for each stage and arrival, under any fsspec path.

A file appears whole or not at all: it is written under a temporary name in the same folder and then renamed.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from vector_pipeline.errors import ConfigurationError, StorageError, one_line
from vector_pipeline.settings import variable
from vector_pipeline.sources.remote import install

# On text, level 1 takes a tenth of the time of level 3, and its files are a tenth larger.
COMPRESSION_LEVEL = 1

SUFFIX = ".parquet"

WRITTEN_AGAIN = "a run of all stages of its arrival, such as `vector-pipeline ingest`, writes it again"

# Errors that only writing raises. The stream itself reads files, and errors of that reading are not meant here.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


@dataclass(frozen=True, slots=True)
class Written:
    """A written file: its rows, its bytes on disk and its URI."""

    rows: int
    bytes: int
    uri: str


@dataclass(frozen=True, slots=True)
class StageFiles:
    """The Parquet files under a base path or URL."""

    base: str

    def uri(self, stage: str, arrival: str) -> str:
        """The URI of the file of a stage and an arrival."""
        return f"{self.base}/{stage}/{arrival}{SUFFIX}"

    def write(self, stage: str, arrival: str, reader: pa.RecordBatchReader) -> Written:
        """Write a stream to its file. If the stream raises an error, the earlier file stays as it was.

        Raises StorageError if there is no room for it.
        """
        filesystem, path = self._at(stage, arrival)
        partial = f"{path}.{uuid.uuid4().hex[:8]}.partial"
        rows = 0
        try:
            filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            with (
                filesystem.open(partial, "wb") as sink,
                pq.ParquetWriter(
                    sink,
                    reader.schema,
                    compression="zstd",
                    compression_level=COMPRESSION_LEVEL,
                    write_page_checksum=True,
                ) as writer,
            ):
                for batch in reader:
                    rows += batch.num_rows
                    writer.write_batch(batch)
            filesystem.mv(partial, path)
        except BaseException as error:
            if filesystem.exists(partial):
                filesystem.rm_file(partial)
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise StorageError(
                    f"the stages under '{self.base}' cannot be written ({os.strerror(error.errno)}); make room there, "
                    f"or set {variable('storage')} to another place"
                ) from error
            raise
        return Written(rows, int(filesystem.size(path) or 0), self.uri(stage, arrival))

    @contextmanager
    def read(self, stage: str, arrival: str) -> Iterator[pa.RecordBatchReader]:
        """Read the stream of a stage, one row group in memory at a time.

        Raises FileNotFoundError if there is no file, and StorageError if it is damaged or cannot be read, also while the
        stream is read.
        """
        filesystem, path = self._at(stage, arrival)
        uri = self.uri(stage, arrival)
        with ExitStack() as stack:
            with _reading(uri):
                stream = stack.enter_context(filesystem.open(path, "rb"))
                parquet = stack.enter_context(pq.ParquetFile(stream, page_checksum_verification=True))
            yield pa.RecordBatchReader.from_batches(parquet.schema_arrow, _batches(parquet, uri))

    def remove(self, stages: Iterable[str], arrivals: Iterable[str]) -> int:
        """Remove the files of some arrivals, also partial ones of killed runs; returns the number of files removed."""
        unwanted = set(arrivals)
        removed = 0
        if not unwanted:
            return 0
        for stage in stages:
            filesystem, path = self._at(stage, "x")
            folder = path.rpartition("/")[0]
            if not filesystem.exists(folder):
                continue
            for name in map(str, filesystem.ls(folder, detail=False)):
                if name.rpartition("/")[2].partition(SUFFIX)[0] in unwanted:
                    filesystem.rm_file(name)
                    removed += 1
        return removed

    def _at(self, stage: str, arrival: str) -> tuple[fsspec.AbstractFileSystem, str]:
        try:
            filesystem, path = fsspec.url_to_fs(self.uri(stage, arrival))
        except ImportError as error:
            raise ConfigurationError(
                f"VECTOR_PIPELINE_STORAGE is '{self.base}', which needs a package that is not installed; "
                f"{install(self.base.partition('://')[0])}"
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"VECTOR_PIPELINE_STORAGE is '{self.base}', which cannot be used: {error}"
            ) from error
        return filesystem, str(path)


def _batches(parquet: pq.ParquetFile, uri: str) -> Iterator[pa.RecordBatch]:
    batches = parquet.iter_batches(batch_size=4_096)
    while True:
        with _reading(uri):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Turn what Arrow or a store reports while a file is read into StorageError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise StorageError(f"'{uri}' cannot be read ({one_line(error)}); {WRITTEN_AGAIN}") from error
