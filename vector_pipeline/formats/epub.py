"""E-books: the chapters in reading order, each read as a page."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.output import document
from vector_pipeline.formats.packages import open_package, part
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.markup import page_document

_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_NAMES = {"title": "title", "creator": "author", "language": "language", "date": "created", "publisher": "publisher"}

# Fonts may be obfuscated. That does not encrypt the text.
_FONTS = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")

# An element without content in XHTML, which the parser of HTML would leave open: `<title/>`, `<a id="page"/>`.
_EMPTY = regex.compile(rb"<([a-zA-Z][\w:.-]*+)((?:[^<>\"']|\"[^<\"]*+\"|'[^<']*+')*?)/>")
_VOID = frozenset(b"area base br col embed hr img input link meta param source track wbr".split())


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
            chapters.append(page_document(_EMPTY.sub(_closed, page)).text)
    yield document("\n\n".join(filter(None, chapters)), _stated(root))


def _closed(element: regex.Match[bytes]) -> bytes:
    return element[0] if element[1].lower() in _VOID else b"<%b%b></%b>" % (element[1], element[2], element[1])


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
