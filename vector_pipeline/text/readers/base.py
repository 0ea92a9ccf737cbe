"""The interface of readers (the plain bytes of a file and options to documents), and the limit on the size of a file."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """Options of readers. `max_bytes` is the limit for a file, both compressed and uncompressed."""

    max_bytes: int = 64 * 1024 * 1024
    text_field: str = "text"
    id_field: str = "id"
    depth: int = 0
    """The number of files around the file, such as an archive. It is limited."""


Reader = Callable[[BinaryIO, ReaderOptions], Iterator[Document]]
"""Plain bytes and options to documents. Raises FileRejected with the reason and what to do."""


class _Limited(io.RawIOBase):
    """A stream that raises FileRejected after a number of bytes: a small file may uncompress to a huge one."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._left = limit
        self._limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        piece = self._take(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        # In one piece; the inherited method joins many pieces.
        return self._take(self._left + 1)

    def _take(self, size: int) -> bytes:
        try:
            piece = self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileRejected(f"is not a whole gzip file ({error}); compress it again") from error
        self._left -= len(piece)
        if self._left < 0:
            raise FileRejected(
                f"is larger than {self._limit:,} bytes uncompressed; split it, or raise VECTOR_PIPELINE_MAX_FILE_BYTES"
            )
        return piece


def open_plain(stream: BinaryIO, name: str, options: ReaderOptions) -> BinaryIO:
    """Open the plain bytes of a file. If its name ends in .gz, they are uncompressed while they are read."""
    if name.lower().endswith(".gz"):
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
    return cast(BinaryIO, io.BufferedReader(_Limited(stream, options.max_bytes), 1 << 16))
