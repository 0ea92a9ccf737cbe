"""Text documents and presentations in OpenDocument format, read from their XML.

kreuzberg cannot read such presentations, and it loses words if formats change inside a sentence
(docs/benchmarks/documents.md).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.cleaning import resolved
from vector_pipeline.formats.output import document, table
from vector_pipeline.formats.packages import PASSWORD, open_package, part, properties
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions

# Elements that are not text of the document: deleted passages, comments and declarations.
_PASSED_OVER = frozenset("tracked-changes annotation forms sequence-decls variable-decls note-citation".split())

# Spreadsheets and tables repeat a row or a cell up to the end of the sheet. More repetitions than this are layout.
_MAX_REPEATED = 64


def read_odt(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A text document as one document."""
    package = open_package(stream.read(), options.max_bytes, "ODT")
    body = _body(package)
    yield document(resolved("\n\n".join(_blocks(body))), properties(package))


def read_odp(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A presentation as one document, with the places of its slides."""
    package = open_package(stream.read(), options.max_bytes, "ODP")
    parts, starts, length = [], [], 0
    for number, slide in enumerate((e for e in _body(package).iter() if _name(e) == "page"), 1):
        text = resolved("\n\n".join(_blocks(slide))) + "\n\n"
        starts.append((length, number))
        parts.append(text)
        length += len(text)
    metadata = {**properties(package), "slide_count": len(starts)}
    yield document("".join(parts), metadata, places={"slides": starts})


def _body(package: zipfile.ZipFile) -> Element:
    if b"encryption-data" in part(package, "META-INF/manifest.xml"):
        raise FileRejected(PASSWORD)
    try:
        root = ElementTree.fromstring(part(package, "content.xml"))
    except ElementTree.ParseError as error:
        raise FileRejected(f"is damaged (content.xml: {error}); save it again") from error
    return next((element for element in root.iter() if _name(element) == "body"), root)


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _attribute(element: Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _blocks(element: Element) -> Iterator[str]:
    """Yield the paragraphs, headings, lists and tables inside an element."""
    for child in element:
        name = _name(child)
        if name in _PASSED_OVER:
            continue
        if name in ("p", "h"):
            yield from _paragraph(child)
        elif name == "list":
            if items := "\n".join(_items(child, 0)):
                yield items
        elif name == "table":
            if rows := table(list(_rows(child))):
                yield rows
        else:
            yield from _blocks(child)


def _paragraph(element: Element) -> Iterator[str]:
    text = " ".join(_inline(element).split(" ")).strip()
    style = _attribute(element, "style-name")
    if text and _name(element) == "h":
        level = _attribute(element, "outline-level")
        text = f"{'#' * min(6, int(level) if level.isdecimal() else 1)} {' '.join(text.split())}"
    elif text and style in ("Title", "title"):
        text = f"# {' '.join(text.split())}"
    if text:
        yield text
    # Frames with their own text are anchored inside a paragraph.
    for frame in _frames(element):
        yield from _blocks(frame)


def _frames(element: Element) -> Iterator[Element]:
    for child in element:
        if _name(child) in ("frame", "custom-shape", "g"):
            yield child
        elif _name(child) not in _PASSED_OVER:
            yield from _frames(child)


def _inline(element: Element) -> str:
    """The text of a paragraph with its notes, and white space as the format defines it."""
    parts = [_folded(element.text)]
    for child in element:
        name = _name(child)
        if name == "s":
            count = _attribute(child, "c")
            parts.append(" " * min(100, int(count) if count.isdecimal() else 1))
        elif name == "tab":
            parts.append("\t")
        elif name == "line-break":
            parts.append("\n")
        elif name == "note":
            parts.append(f" ({' '.join(' '.join(_blocks(child)).split())}) ")
        elif name not in _PASSED_OVER and name not in ("frame", "custom-shape", "g"):
            parts.append(_inline(child))
        parts.append(_folded(child.tail))
    return "".join(parts)


def _folded(text: str | None) -> str:
    return " ".join(text.replace("\n", " ").split(" ")) if text else ""


def _items(element: Element, depth: int) -> Iterator[str]:
    for item in element:
        for child in item:
            if _name(child) == "list":
                yield from _items(child, depth + 1)
            else:
                text = " ".join(" ".join(_blocks_of(child)).split())
                if text:
                    yield f"{'  ' * depth}- {text}"


def _blocks_of(element: Element) -> Iterable[str]:
    return _paragraph(element) if _name(element) in ("p", "h") else _blocks(element)


def _rows(element: Element) -> Iterator[list[str]]:
    for child in element:
        name = _name(child)
        if name in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _rows(child)
        elif name == "table-row":
            cells: list[str] = []
            for cell in child:
                text = " ".join(" ".join(_blocks(cell)).split())
                cells += [text] * _repeated(cell, "number-columns-repeated", bool(text))
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield from [cells] * _repeated(child, "number-rows-repeated", True)


def _repeated(element: Element, name: str, has_text: bool) -> int:
    stated = _attribute(element, name)
    count = int(stated) if stated.isdecimal() else 1
    return min(count, _MAX_REPEATED) if has_text else min(count, 8)
