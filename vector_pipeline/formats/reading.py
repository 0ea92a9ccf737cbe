"""Read the documents of a file, in this process or in one of the pool, as its kind requires."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import Future
from typing import BinaryIO, cast

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.kinds import kind_of
from vector_pipeline.formats.pool import ReaderPool
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers import ReadCounts, ReaderOptions, read_documents, with_text
from vector_pipeline.text.readers.base import open_plain


def is_read_apart(path: str) -> bool:
    """Whether a file with this name is read in a process of its own."""
    kind = kind_of(path)
    return kind is not None and not kind.is_text


def begin(pool: ReaderPool, stream: BinaryIO, path: str, options: ReaderOptions) -> Future[list[Document]]:
    """Begin to read a file in a process of its own. The future raises FileRejected, or OSError.

    The documents are all that the reader returned, also those without text. `stream` must stay open until then.
    """
    kind = kind_of(path)
    assert kind is not None
    return pool.submit(open_plain(stream, path, options), kind, options)


def read_file(
    pool: ReaderPool, stream: BinaryIO, path: str, options: ReaderOptions, counts: ReadCounts | None = None
) -> Iterator[Document]:
    """Yield the documents of a file. Raises FileRejected, also for a bug in a reader, and OSError.

    Record formats are a stream and may be rejected after some documents; callers load a file whole or not at all.
    """
    counts = counts if counts is not None else ReadCounts()
    if is_read_apart(path):
        yield from with_text(begin(pool, stream, path, options).result(), counts)
        return
    try:
        yield from read_documents(stream, path, options, counts)
    except (FileRejected, OSError):
        raise
    except Exception as error:
        # It must not stop the other files. The type of the error helps with a bug report.
        raise FileRejected(f"could not be read ({type(error).__name__}: {str(error)[:200]})") from error


def read_bytes(pool: ReaderPool, data: bytes, path: str, options: ReaderOptions) -> list[Document]:
    """The documents of a file from its bytes. Raises the errors of `read_file`."""
    return list(read_file(pool, cast(BinaryIO, io.BytesIO(data)), path, options))
