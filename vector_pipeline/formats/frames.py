"""Frames between a reading process and its parent: a length, then JSON. They hold data and never code."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import orjson

from vector_pipeline.text.documents import Document

LENGTH = struct.Struct(">Q")


def write_frame(stream: BinaryIO, value: dict[str, Any]) -> None:
    """Write one value and flush the stream."""
    data = orjson.dumps(value)
    stream.write(LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def document_to_json(document: Document) -> dict[str, Any]:
    """A document as JSON values."""
    return {
        "text": document.text,
        "metadata": dict(document.metadata),
        "record": document.record,
        "encoding": document.encoding,
        "removed": document.removed,
        "outline": document.outline,
        "places": {name: list(starts) for name, starts in document.places.items()},
    }


def document_from_json(value: dict[str, Any]) -> Document:
    """The document that `document_to_json` wrote."""
    places = {name: tuple((int(at), number) for at, number in starts) for name, starts in value["places"].items()}
    outline = value["outline"]
    if outline is not None:
        outline = tuple((int(at), int(level), str(title)) for at, level, title in outline)
    return Document(**{**value, "places": places, "outline": outline})
