"""The values that pass through the text floor: documents, chunks, and what identifies a text.

No reading and no cutting happens here.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OWN_NOTES = "vector_pipeline"
"""The key under which our notes stand, where the file itself has a field of the name of one of them."""

NOTES = frozenset(
    {"headings", "table_header", "pages", "slides", "cells", "encoding", "characters_removed", "inline_data_removed"}
)
"""The names of what we may note of any document or chunk beside the file's own fields."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text out of a file.

    `record` names the record that it came from (its id field, or its number from 1), and is empty where the
    whole file is one document. `metadata` holds what JSON can hold. `text` has no NUL and no lone surrogate;
    `removed` is how many of them were taken out of it and of the metadata. `encoding` is what the file was read in.
    `places` says where the pages or slides of the text begin, by their name in the metadata of a chunk (`pages`):
    pairs of a character and the number of the page that begins there, in order. `outline` are its headings where they
    are not written as Markdown writes them: the character that each begins at, its level from 1, its title.
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

    `start` and `end` count characters (code points); `tokens` is the exact count of `text` in the tokenizer's
    encoding. `metadata` are notes that add to the document's (such as the path of headings) and may be empty.
    """

    text: str
    start: int
    end: int
    tokens: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


def places_of(chunk: Chunk, places: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, list[int]]:
    """The numbers of the pages or slides that a chunk stands on, under their name (`{"pages": [3, 4]}`).

    `places` are the document's. Pages that are empty between others are left out.
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
    """A file's own fields together with our notes; neither ever hides the other.

    Notes stand beside the fields. Where the file has a field of the name of one of them, or of `NOTES`, they stand
    apart, under `OWN_NOTES`. A field of the file's of that name itself moves in there, under `field`. `metadata` is what
    `set_apart` made.
    """
    if OWN_NOTES in metadata or not notes.keys().isdisjoint(metadata):
        return {**metadata, OWN_NOTES: {**metadata.get(OWN_NOTES, {}), **notes}}
    return {**metadata, **notes}


def set_apart(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A file's own fields, as `noted` takes them."""
    if NOTES.isdisjoint(fields) and OWN_NOTES not in fields:
        return dict(fields)
    return {**fields, OWN_NOTES: {"field": fields[OWN_NOTES]} if OWN_NOTES in fields else {}}


def notes_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Our notes in what `noted` made; where they stand beside the file's fields, those too."""
    apart = metadata.get(OWN_NOTES)
    return apart if isinstance(apart, Mapping) else metadata


def content_hash(text: str) -> bytes:
    """The 16 bytes that stand for a text everywhere: BLAKE2b-128 of its UTF-8 form.

    128 bits make a collision among a billion texts less likely than 2e-21, and fit Postgres's uuid type.
    """
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
