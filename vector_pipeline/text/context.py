"""What stands in front of a chunk when it is embedded and ranked: title, headings, and the header of its table.

It is no part of the chunk's own text: offsets and `page_content` are the file's. It is part of what identifies the
vector and the terms, so that the same paragraph under two headings is two texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

Context = Literal["none", "headings", "title"]

# Titles are a line each. What is longer was written as text, and would drown the chunk.
MAX_TITLE_CHARACTERS = 120
MAX_CONTEXT_CHARACTERS = 400
MAX_CHARACTERS = MAX_TITLE_CHARACTERS + 2 * MAX_CONTEXT_CHARACTERS + len("\n\n\n")
"""The most characters of a whole context: title, headings, and the header of a table, each on a line."""


def context_of(kind: Context, source: str, metadata: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    r"""The context of a chunk, empty or ending in a line break.

    `metadata` is the document's, and `notes` are what the chunker noted for the chunk. `headings` is the path of
    headings, and in a line after it the header of the table that the chunk begins in. `title` has in a line before them
    the document's title, or else the name of its file without suffixes. A file that is only moved to another folder
    keeps its context.
    """
    if kind == "none":
        return ""
    headings = notes.get("headings", metadata.get("headings"))
    path = " > ".join(_line(heading) for heading in headings) if isinstance(headings, list) else ""
    title = ""
    if kind == "title":
        title = _line(metadata.get("title") or "") or _line(PurePosixPath(source).name.partition(".")[0])
    header = str(notes.get("table_header", ""))
    lines = [line for line in (title, path[-MAX_CONTEXT_CHARACTERS:], header[:MAX_CONTEXT_CHARACTERS]) if line]
    return "".join(f"{line}\n" for line in lines)


def _line(value: object) -> str:
    return " ".join(str(value).split())[:MAX_TITLE_CHARACTERS]
