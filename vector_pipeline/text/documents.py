"""Documents, chunks and content hashes: the values that the rooms of `text` share.

Nothing is read or cut here.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OWN_NOTES = "vector_pipeline"
"""The metadata key for our notes if the file itself has a field with the name of one of them."""

PLACES = ("pages", "slides", "cells")
"""The names under which a chunk has the numbers of its pages and the like."""

NOTES = frozenset(
    {"headings", "table_header", "pages", "slides", "cells", "encoding", "characters_removed", "inline_data_removed"}
)
"""The names of notes that we may add to any document or chunk, beside the file's own fields."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text of a file, with metadata.

    `record` names its record (the id field, or the number from 1); it is empty if the whole file is one document.
    `metadata` holds JSON values. `text` has no NUL and no lone surrogate. `removed` is the number of those that were
    removed from the text and the metadata. `encoding` is the encoding of the file. `places` says where pages or slides
    of the text begin. Its keys are names in the metadata of a chunk (`pages`). Its values are pairs of a character
    offset and the number of the page that begins there, in order. `outline` holds headings that are not written as
    in Markdown: the offset of each, its level from 1 and its title.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    record: str = ""
    encoding: str = "utf-8"
    removed: int = 0
    places: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    outline: Sequence[tuple[int, int, str]] | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `document.text[start:end] == text`, never empty.

    `start` and `end` count characters (code points). `tokens` is the exact count of `text` in the tokenizer's
    encoding. `metadata` holds notes beside the document's own (such as the path of headings) and may be empty.
    """

    text: str
    start: int
    end: int
    tokens: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


def places_of(chunk: Chunk, places: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, list[int]]:
    """The numbers of the pages or slides that hold a chunk, under their name (`{"pages": [3, 4]}`).

    `places` is the document's. Empty pages between others are left out.
    """
    found = {}
    for name, starts in places.items():
        first = max(0, bisect_right(starts, chunk.start, key=lambda start: start[0]) - 1)
        last = bisect_left(starts, chunk.end, key=lambda start: start[0])
        on = [
            number
            for at, (start, number) in enumerate(starts[first:last], first)
            if at + 1 == len(starts) or starts[at + 1][0] > max(start, chunk.start)
        ]
        if on:
            found[name] = on
    return found


def noted(metadata: Mapping[str, Any], notes: Mapping[str, Any]) -> dict[str, Any]:
    """A file's own fields together with our notes. Neither ever hides the other.

    Notes stand beside the fields. If the file has a field with the name of a note or of one in `NOTES`, the notes stand
    under the key `OWN_NOTES` instead. If the file has a field named like `OWN_NOTES`, its value moves to
    `OWN_NOTES` → `field`. `metadata` is a result of `set_apart`.
    """
    if OWN_NOTES in metadata or not notes.keys().isdisjoint(metadata):
        return {**metadata, OWN_NOTES: {**metadata.get(OWN_NOTES, {}), **notes}}
    return {**metadata, **notes}


def set_apart(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A file's own fields in the form that `noted` takes."""
    if NOTES.isdisjoint(fields) and OWN_NOTES not in fields:
        return dict(fields)
    return {**fields, OWN_NOTES: {"field": fields[OWN_NOTES]} if OWN_NOTES in fields else {}}


def notes_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Our notes in a result of `noted`. If they stand beside the file's fields, the fields are included."""
    apart = metadata.get(OWN_NOTES)
    return apart if isinstance(apart, Mapping) else metadata


def content_hash(text: str) -> bytes:
    """The 16 bytes that identify a text everywhere: BLAKE2b-128 of its UTF-8 form.

    With 128 bits a collision among a billion texts is less likely than 2e-21. They fit Postgres's uuid type.
    """
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
