"""Workbooks: each sheet is a document, with its rows as a Markdown table."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import python_calamine
import regex

from vector_pipeline.errors import FileRejected, one_line
from vector_pipeline.formats.by_dochan import by_dochan
from vector_pipeline.formats.drawings import drawn_in_package, drawn_in_stream
from vector_pipeline.formats.markdown import plainer
from vector_pipeline.formats.ole import ole_properties
from vector_pipeline.formats.output import document, table
from vector_pipeline.formats.packages import PASSWORD, has_macros, open_package, properties
from vector_pipeline.formats.sniffing import ZIP_MARK
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions

# What dochan writes beside the cells, and the headings of its sheets.
_NO_CELLS = regex.compile(r"(?m)^(?:Defined name|Header|Footer): [^\n]*\n?|\[comment: [^\]\n]*\]|^\|[|\s]*\|$\n?")
_SHEET = regex.compile(r"(?m)^## (.+)$")


def read_workbook(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """Yield the sheets of a workbook (XLSX, XLSB, XLS, ODS) that are not empty, under their names."""
    data = stream.read()
    package = open_package(data, options.max_bytes, "workbook") if data.startswith(ZIP_MARK) else None
    metadata = properties(package) if package is not None else ole_properties(data)
    drawn = drawn_in_package(package) if package is not None else drawn_in_stream(data)
    found = False
    for name, cells in _sheets(data):
        text = "\n\n".join(filter(None, (cells, _lacking(drawn.get(name, []), cells))))
        if text:
            found = True
            yield document(f"# {name}\n\n{text}", {**metadata, "sheet": name}, record=name)
    if not found and package is not None and has_macros(package):
        raise FileRejected("holds macros and no text; remove it from the source")


def _sheets(data: bytes) -> list[tuple[str, str]]:
    """The names and cells of all sheets. Raises FileRejected.

    calamine cannot read some workbooks, or panics. dochan reads some of them.
    """
    try:
        book = _opened(data)
        return [(name, _text(book, name)) for name in book.sheet_names]
    except FileRejected as rejection:
        if str(rejection) == PASSWORD or not (sheets := _by_dochan(data)):
            raise
        return sheets
    except BaseException as panic:
        # Of pyo3, whose class cannot be imported and is no Exception.
        if type(panic).__name__ != "PanicException":
            raise
        if sheets := _by_dochan(data):
            return sheets
        raise FileRejected("is damaged, or of an unknown format; open it in its program and save it again") from panic


def _by_dochan(data: bytes) -> list[tuple[str, str]]:
    """The names and cells of all sheets by dochan; empty if it finds none."""
    suffix = ".xlsx" if data.startswith(ZIP_MARK) else ".xls"
    try:
        text = plainer(by_dochan(data, suffix))
    except FileRejected:
        return []
    parts = _SHEET.split(_NO_CELLS.sub("", text))
    named = list(zip(parts[1::2], parts[2::2], strict=True)) or [("Sheet1", parts[0])]
    return [(name.strip(), cells.strip()) for name, cells in named if cells.strip()]


def _lacking(lines: Sequence[str], cells: str) -> str:
    """The lines that are not among the cells, each once."""
    return "\n".join(dict.fromkeys(line for line in map(str.strip, lines) if line and line not in cells))


def _opened(data: bytes) -> python_calamine.CalamineWorkbook:
    try:
        return python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except python_calamine.PasswordError as error:
        raise FileRejected(PASSWORD) from error
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        raise FileRejected(f"is not a whole workbook ({one_line(error)[:120]}); save it again") from error


def _text(book: python_calamine.CalamineWorkbook, name: str) -> str:
    try:
        rows = book.get_sheet_by_name(name).to_python()
    except (python_calamine.CalamineError, ValueError) as error:
        if "chart" in str(error).lower() or "worksheet" in str(error).lower():
            return ""  # a sheet that is a chart has no rows
        raise FileRejected(
            f"has the sheet '{name[:80]}' that cannot be read ({one_line(error)[:120]}); save it again"
        ) from error
    return "\n\n".join(filter(None, map(_block, _blocks([[_shown(cell) for cell in row] for row in rows]))))


def _blocks(rows: Sequence[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    """Yield the runs of rows between empty rows."""
    block: list[Sequence[str]] = []
    for row in rows:
        if any(row):
            block.append(row)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _block(rows: list[Sequence[str]]) -> str:
    """A table without its empty columns. Rows of a single cell above it are its title."""
    titles = []
    while rows and sum(map(bool, rows[0])) == 1 and len(rows) > 1:
        titles.append(next(filter(None, rows[0])))
        rows = rows[1:]
    used = [number for number in range(len(rows[0])) if any(row[number] for row in rows)]
    body = [[row[number] for number in used] for row in rows]
    single = len(used) == 1
    return "\n\n".join([*titles, "\n".join(row[0] for row in body) if single else table(body)])


def _shown(cell: Any) -> str:
    """A cell as a person would type it."""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.15g}"
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(sep=" ") if cell.time() != datetime.time() else cell.date().isoformat()
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return str(cell).strip()
