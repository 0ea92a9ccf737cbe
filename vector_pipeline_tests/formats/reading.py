"""Reading a made document as a reading process does, without the process."""

from __future__ import annotations

import io

from vector_pipeline.formats.child import documents_of
from vector_pipeline.formats.kinds import kind_of
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions


def read(data: bytes, name: str, options: ReaderOptions | None = None) -> list[Document]:
    """The documents of a file of that name."""
    kind = kind_of(name)
    assert kind is not None
    return list(documents_of(io.BytesIO(data), kind.reader, options or ReaderOptions()))
