"""The output of the readers of this package: documents of Markdown-like text, tables and ranges of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import clean
from vector_pipeline.text.readers.inline_data import without_inline_data
from vector_pipeline.text.readers.metadata import Unstorable
from vector_pipeline.text.readers.metadata import document as metadata_document

_BLANK_LINES = regex.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
_LINE_ENDS = regex.compile(r"[ \t]+\n")

Places = Mapping[str, Sequence[tuple[int, int]]]


def document(
    text: str,
    metadata: Mapping[str, Any],
    *,
    record: str = "",
    encoding: str = "utf-8",
    places: Places | None = None,
) -> Document:
    """A document with its text cleaned and its places adjusted. Fields without a value are left out.

    Raises FileRejected if its metadata is too large.
    """
    name, starts = next(iter((places or {}).items()), ("", ()))
    bounds = [start for start, _ in starts]
    ends = [*bounds[1:], len(text)]
    pieces = [text[start:end] for start, end in zip(bounds, ends, strict=True)] if bounds else [text]
    cleaned, moved, removed, inline_data = _tidied(pieces)
    stated = {key: value for key, value in metadata.items() if value not in (None, "", [])}
    try:
        made = metadata_document(
            cleaned, stated, record=record, encoding=encoding, removed=removed, inline_data=inline_data
        )
    except Unstorable as problem:
        raise FileRejected(f"{problem}; shorten them in the file") from problem
    numbers = [number for _, number in starts]
    return replace(made, places={name: tuple(zip(moved, numbers, strict=True))}) if bounds else made


def what_is_lacking(document: Document) -> str:
    """What of a document's file could not be read though the rest was, in words; empty where nothing is lacking."""
    if isinstance(pages := document.metadata.get("pages_without_text"), list) and pages:
        return f"pages without text, which want recognising (OCR): {range_list(pages)}"
    if isinstance(pages := document.metadata.get("pages_partly_without_text"), list) and pages:
        return f"pages with lines whose fonts do not define letters, which want recognising (OCR): {range_list(pages)}"
    for name in ("files_not_read", "attachments_not_read", "messages_not_read"):
        if isinstance(files := document.metadata.get(name), list) and files:
            return f"cannot be read inside it: {'; '.join(map(str, files))}"[:500]
    return ""


def _tidied(pieces: Sequence[str]) -> tuple[str, list[int], int, int]:
    """Join the pieces of a text without superfluous white space; returns the text and the beginning of each piece.

    It also returns the numbers of characters and of embedded files that were removed.
    """
    out: list[str] = []
    starts: list[int] = []
    length = removed = inline_data = 0
    for piece in pieces:
        cleaned, taken = clean(piece)
        cleaned, files = without_inline_data(cleaned)
        removed += taken
        inline_data += files
        body = _BLANK_LINES.sub("\n\n", _LINE_ENDS.sub("\n", cleaned))
        stripped = body.rstrip()
        between = body[len(stripped) :]
        if not length:
            stripped = stripped.lstrip("\n")
        starts.append(length)
        out += [stripped, between]
        length += len(stripped) + len(between)
    text = "".join(out).rstrip()
    return text, [min(start, len(text)) for start in starts], removed, inline_data


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table with the first one as its header; empty without rows."""
    if not rows:
        return ""
    width = max(map(len, rows))
    filled = [[*map(_cell, row), *[""] * (width - len(row))] for row in rows]
    head, *body = ["| " + " | ".join(row) + " |" for row in filled]
    return "\n".join([head, "|" + " --- |" * width, *body])


def _cell(text: str) -> str:
    """The text of a cell on one line."""
    return " ".join(text.split()).replace("|", "\\|")


def range_list(numbers: Iterable[int], most: int = 12) -> str:
    """The first `most` ranges of ordered numbers as text: '1-3, 7, 9-12, …'."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [f"{first}" if first == last else f"{first}-{last}" for first, last in ranges[:most]]
    return ", ".join(shown) + (", …" if len(ranges) > most else "")
