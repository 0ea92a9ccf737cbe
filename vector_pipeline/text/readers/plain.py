"""Plain text: the whole file is one document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings import Decoded, decode
from vector_pipeline.text.readers.base import ReaderOptions


def read_text(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document."""
    decoded = decode(stream.read())
    yield Document(decoded.text, decoding_metadata(decoded))


def decoding_metadata(decoded: Decoded) -> dict[str, Any]:
    """What a reader notes of how the bytes were decoded: nothing where they were clean UTF-8."""
    noted: dict[str, Any] = {}
    if decoded.encoding != "utf-8":
        noted["encoding"] = decoded.encoding
    if decoded.removed:
        noted["characters_removed"] = decoded.removed
    return noted
