"""What is drawn on the sheets of a workbook: text boxes, shapes, and the titles of charts.

python-calamine reads cells alone. XLSX has drawings in parts of their own ([ECMA-376] part 1, 20.5 and 21.2), XLS in
records between those of the cells ([MS-XLS] 2.4.329 TxO, 2.4.254 SeriesText). Notes on cells are left out, like the
remarks of reviewers in text documents.
"""

from __future__ import annotations

import posixpath
import struct
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from dochan.cfb import OleFileIO

from vector_pipeline.formats.packages import part

Drawn = dict[str, list[str]]
"""The lines that are drawn on each sheet, by its name."""

_MAX_PART = 16 * 1024 * 1024

# The numbers of records in XLS, and the type of an object that is a note.
_BOUND_SHEET, _BEGIN, _OBJECT, _TEXT_OBJECT, _CONTINUE, _SERIES_TEXT = 0x85, 0x809, 0x5D, 0x1B6, 0x3C, 0x100D
_NOTE = 0x19


def drawn_in_package(package: zipfile.ZipFile) -> Drawn:
    """What is drawn in a workbook of XLSX or XLSM."""
    drawn: Drawn = {}
    book = "xl/workbook.xml"
    targets = _targets(package, book)
    for sheet in _iterated(_parsed(package, book), "sheet"):
        place = next(
            (targets[value][1] for name, value in sheet.items() if name.endswith("}id") and value in targets), ""
        )
        lines = [
            line
            for kind, drawing in _targets(package, place).values()
            if kind == "drawing"
            for line in _drawn_lines(package, drawing)
        ]
        if lines:
            drawn[sheet.get("name", "")] = lines
    return drawn


def _drawn_lines(package: zipfile.ZipFile, drawing: str) -> Iterator[str]:
    """Yield the lines of a drawing, and of the charts on it."""
    yield from _lines(_parsed(package, drawing))
    for kind, chart in _targets(package, drawing).values():
        if kind == "chart":
            yield from _lines(_parsed(package, chart))


def _lines(root: Element) -> Iterator[str]:
    """Yield the paragraphs of an XML part. Programs that do not know a shape read its `Fallback` instead."""
    # By hand and not by recursion: elements may nest deeper than Python's own stack.
    waiting = [root]
    while waiting:
        element = waiting.pop()
        name = element.tag.rpartition("}")[2]
        if name == "p":
            text = "".join(run.text or "" for run in _iterated(element, "t"))
            if text.strip():
                yield " ".join(text.split())
        elif name != "Fallback":
            waiting += reversed(element)


def _targets(package: zipfile.ZipFile, place: str) -> dict[str, tuple[str, str]]:
    """The parts that a part refers to, each as its kind and place, by their ids."""
    folder, _, base = place.rpartition("/")
    return {
        element.get("Id", ""): (
            element.get("Type", "").rpartition("/")[2],
            posixpath.normpath(posixpath.join("/", folder, element.get("Target", ""))).lstrip("/"),
        )
        for element in _iterated(_parsed(package, f"{folder}/_rels/{base}.rels"), "Relationship")
    }


def _parsed(package: zipfile.ZipFile, place: str) -> Element:
    """A part as XML; an empty element if there is none that can be read."""
    if place in package.NameToInfo and package.getinfo(place).file_size <= _MAX_PART:
        try:
            return ElementTree.fromstring(part(package, place))
        except ElementTree.ParseError:
            # A damaged drawing must not stop the cells.
            pass
    return Element("none")


def _iterated(root: Element, name: str) -> Iterator[Element]:
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def drawn_in_stream(data: bytes) -> Drawn:
    """What is drawn in a workbook of XLS."""
    try:
        with OleFileIO(data) as container:
            name = next((name for name in ("Workbook", "Book") if container.exists(name)), None)
            return _drawn_records(container.openstream(name).read()) if name is not None else {}
    except (OSError, ValueError, LookupError, struct.error):
        return {}


def _drawn_records(book: bytes) -> Drawn:
    sheets: dict[int, str] = {}
    drawn: Drawn = {}
    sheet, text, lacking, is_note = "", "", 0, False
    for at, kind, record in _records(book):
        if kind == _BOUND_SHEET:
            sheets[struct.unpack_from("<I", record)[0]] = _characters(record[7:], record[6])
        elif kind == _BEGIN:
            sheet = sheets.get(at, sheet)
        elif kind == _OBJECT:
            is_note = struct.unpack_from("<H", record, 4)[0] == _NOTE
        elif kind == _TEXT_OBJECT:
            text, lacking = "", 0 if is_note else struct.unpack_from("<H", record, 10)[0]
        elif kind == _CONTINUE and lacking:
            piece = _characters(record, lacking)
            text, lacking = text + piece, lacking - len(piece)
            if not lacking:
                drawn.setdefault(sheet, []).extend(text.splitlines())
        elif kind == _SERIES_TEXT:
            drawn.setdefault(sheet, []).append(_characters(record[3:], record[2]))
    return drawn


def _records(book: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the place, the number and the bytes of each record."""
    at = 0
    while at + 4 <= len(book):
        kind, length = struct.unpack_from("<HH", book, at)
        yield at, kind, book[at + 4 : at + 4 + length]
        at += 4 + length


def _characters(data: bytes, count: int) -> str:
    """Characters behind a byte that says whether each has one byte or two."""
    return (
        data[1 : 1 + 2 * count].decode("utf-16-le", "replace") if data[0] & 1 else data[1 : 1 + count].decode("latin-1")
    )
