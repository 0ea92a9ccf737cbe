"""What stands in front of a chunk when it is embedded and ranked: its document's title, and the headings above it.

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


def context_of(kind: Context, source: str, metadata: Mapping[str, Any]) -> str:
    r"""The context of a chunk, empty or ending in a line break.

    `headings` is the path of headings in `metadata`; `title` has in a line before it the document's title, or else the
    name of its file without suffixes. A file that is only moved to another folder keeps its context.
    """
    if kind == "none":
        return ""
    headings = metadata.get("headings")
    path = " > ".join(_line(heading) for heading in headings) if isinstance(headings, list) else ""
    title = ""
    if kind == "title":
        title = _line(metadata.get("title") or "") or _line(PurePosixPath(source).name.partition(".")[0])
    lines = [line for line in (title, path[-MAX_CONTEXT_CHARACTERS:]) if line]
    return "".join(f"{line}\n" for line in lines)


def _line(value: object) -> str:
    return " ".join(str(value).split())[:MAX_TITLE_CHARACTERS]
