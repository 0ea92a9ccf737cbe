"""E-books: the chapters in reading order, each read as a page."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.output import document
from vector_pipeline.formats.packages import open_package, part
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.markup import read_html

_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_NAMES = {"title": "title", "creator": "author", "language": "language", "date": "created", "publisher": "publisher"}

# Fonts may be obfuscated. That does not encrypt the text.
_FONTS = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")


def read_epub(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A book as one document. Raises FileRejected if it is damaged or locked (DRM)."""
    package = open_package(stream.read(), options.max_bytes, "EPUB")
    _refuse_locked(package)
    place = _root_file(package)
    root = _parsed(part(package, place), place)
    chapters = []
    for name in _reading_order(root, place):
        page = part(package, name)
        if page:
            chapters.append(next(read_html(cast(BinaryIO, io.BytesIO(page)), options)).text)
    yield document("\n\n".join(filter(None, chapters)), _stated(root))


def _refuse_locked(package: zipfile.ZipFile) -> None:
    encryption = part(package, "META-INF/encryption.xml")
    methods = encryption.count(b"EncryptionMethod")
    if methods and methods > sum(encryption.count(font) for font in _FONTS):
        raise FileRejected("is locked (DRM) for the program of its seller; only an unlocked copy can be read")


def _root_file(package: zipfile.ZipFile) -> str:
    container = _parsed(part(package, "META-INF/container.xml"), "META-INF/container.xml")
    for element in container.iter():
        if _name(element) == "rootfile" and (place := element.get("full-path")):
            return place
    raise FileRejected("names no content in META-INF/container.xml; save it again")


def _reading_order(root: Element, place: str) -> Iterator[str]:
    folder = posixpath.dirname(place)
    pages = {
        element.get("id", ""): posixpath.normpath(posixpath.join(folder, unquote(element.get("href", ""))))
        for element in root.iter()
        if _name(element) == "item" and element.get("media-type") in _PAGES and element.get("properties") != "nav"
    }
    for element in root.iter():
        if _name(element) == "itemref" and element.get("idref", "") in pages:
            yield pages[element.get("idref", "")]


def _stated(root: Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in root.iter():
        name = _NAMES.get(_name(element))
        text = " ".join((element.text or "").split())
        if name and text and "purl.org/dc" in element.tag:
            found.setdefault(name, text)
    return found


def _parsed(data: bytes, name: str) -> Element:
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise FileRejected(f"is damaged ({name}: {error}); save it again, or fetch it again") from error


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]
