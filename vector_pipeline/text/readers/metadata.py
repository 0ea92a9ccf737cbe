"""Metadata in a form that JSON and Postgres can store, limited in size because each chunk has a copy."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from vector_pipeline.text.documents import Document, noted, set_apart
from vector_pipeline.text.encodings.decode import clean
from vector_pipeline.text.readers.inline_data import without_inline_data

MAX_CHARACTERS = 64 * 1024
"""The most characters of a document's metadata. Every chunk of the document has a copy."""

MAX_DEPTH = 64
"""The deepest nesting of values. orjson can write 254 levels, but no one needs them."""

# orjson writes integers of 64 bits, signed or unsigned, and most JSON readers can hold them.
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1


class Unstorable(ValueError):
    """Metadata that cannot be stored. The message is the end of a sentence that begins with the file or record."""


def document(
    text: str, metadata: Mapping[str, Any], *, record: str = "", encoding: str, removed: int = 0, inline_data: int = 0
) -> Document:
    """A document with its own metadata and notes about how it was read. `text` is clean.

    `inline_data` is the number of embedded files that were left out of the text. Raises Unstorable.
    """
    stored = storable(metadata)
    removed += stored.removed
    inline_data += stored.inline_data
    notes: dict[str, Any] = {}
    if encoding != "utf-8":
        notes["encoding"] = encoding
    if removed:
        notes["characters_removed"] = removed
    if inline_data:
        notes["inline_data_removed"] = inline_data
    return Document(text, noted(set_apart(stored.fields), notes), record, encoding, removed)


class Storable(NamedTuple):
    """Metadata as JSON values, the number of characters removed from it, and of embedded files left out of it."""

    fields: dict[str, Any]
    removed: int
    inline_data: int


def storable(metadata: Mapping[str, Any]) -> Storable:
    """Metadata as JSON values, without the content of long `data:` URLs. Values that JSON lacks become text.

    Raises Unstorable if it is too large or too deeply nested.
    """
    walk = _Walk()
    return Storable(walk.mapping(metadata, 1), walk.removed, walk.inline_data)


class _Walk:
    def __init__(self) -> None:
        self.removed = self.inline_data = 0
        self.left = MAX_CHARACTERS

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in value.items():
            name = self.text(key if isinstance(key, str) else _key(key))
            if name in found:
                raise Unstorable(f"has the field '{name[:100]}' twice")
            found[name] = self.value(item, depth)
        return found

    def value(self, value: Any, depth: int) -> Any:
        self._spend(1)
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if _MIN_INTEGER <= value <= _MAX_INTEGER else self.text(_digits(value))
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(value)
        if depth >= MAX_DEPTH:
            raise Unstorable(f"nests its fields deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            return self.mapping(value, depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item, depth + 1) for item in value]
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        return self.text(str(value))

    def text(self, text: str) -> str:
        text, inline_data = without_inline_data(text)
        self.inline_data += inline_data
        self._spend(len(text))
        cleaned, removed = clean(text)
        self.removed += removed
        return cleaned

    def _spend(self, characters: int) -> None:
        self.left -= characters
        if self.left < 0:
            raise Unstorable(
                f"has more than {MAX_CHARACTERS:,} characters in its other fields, which each chunk would carry"
            )


def _key(key: Any) -> str:
    """A key that is not text, as JSON would write it."""
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return _digits(key) if isinstance(key, int) else str(key)


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:
        # Python does not write numbers of more than some thousands of digits.
        return hex(value)
