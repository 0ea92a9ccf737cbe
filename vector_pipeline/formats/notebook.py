"""Jupyter notebooks: text and code of the cells in their order, without outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.output import document
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
from vector_pipeline.text.readers.base import ReaderOptions


def read_notebook(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A notebook as one document, with the cells (from 1) that its chunks come from."""
    notebook = _parsed(decode(stream.read()).text)
    about = notebook.get("metadata")
    about = about if isinstance(about, Mapping) else {}
    language = _language(about)
    parts, starts, length = [], [], 0
    for number, cell in enumerate(_cells(notebook), 1):
        text = _text(cell, language)
        if text:
            starts.append((length, number))
            parts.append(text + "\n\n")
            length += len(text) + 2
    metadata = {"title": about.get("title"), "programming_language": language}
    yield document("".join(parts), metadata, places={"cells": starts})


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        notebook = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileRejected("is not a whole notebook (it is not JSON); save it again") from error
    if not isinstance(notebook, dict):
        raise FileRejected("is not a notebook; save it again, or give it another suffix")
    return notebook


def _cells(notebook: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    # Until version 3 the cells stood in worksheets.
    sheets = notebook.get("worksheets")
    of_sheets = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)] if isinstance(sheets, list) else []
    found = [cell for cells in (notebook.get("cells"), *of_sheets) if isinstance(cells, list) for cell in cells]
    if not isinstance(notebook.get("cells"), list) and not of_sheets:
        raise FileRejected("has no cells; save it again, or give it another suffix")
    return [cell for cell in found if isinstance(cell, dict)]


def _language(about: Mapping[str, Any]) -> str:
    for name, key in (("language_info", "name"), ("kernelspec", "language")):
        stated = about.get(name)
        if isinstance(stated, Mapping) and isinstance(stated.get(key), str):
            return str(stated[key])
    return ""


def _text(cell: Mapping[str, Any], language: str) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    if not text.strip():
        return ""
    if cell.get("cell_type") == "code":
        fence = "```"
        while fence in text:
            fence += "`"
        return f"{fence}{language}\n{text.rstrip()}\n{fence}"
    if cell.get("cell_type") == "heading":
        level = cell.get("level", 1)
        return f"{'#' * (level if isinstance(level, int) and 1 <= level <= 6 else 1)} {' '.join(text.split())}"
    return text.strip()
