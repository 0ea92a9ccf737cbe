"""Plain text: the whole file is one document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.inline_data import without_inline_data
from vector_pipeline.text.readers.metadata import document


def read_text(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document."""
    decoded = decode(stream.read())
    text, inline_data = without_inline_data(decoded.text)
    yield document(text, {}, encoding=decoded.encoding, removed=decoded.removed, inline_data=inline_data)
