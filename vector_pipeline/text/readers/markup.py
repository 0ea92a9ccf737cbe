"""Markdown and HTML: each file is one document, with its front matter or title as metadata."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
from vector_pipeline.text.encodings.labels import encoding_of
from vector_pipeline.text.readers import front_matter
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.inline_data import without_inline_data
from vector_pipeline.text.readers.metadata import document
from vector_pipeline.text.readers.page import Page

_DECLARED = regex.compile(
    rb"<meta[^>]{1,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})|\A\s*<\?xml[^>]{1,200}?encoding\s*=\s*[\"']([\w.:-]{2,40})",
    regex.IGNORECASE,
)
_DECLARED_BYTES = 4_096


def read_markdown(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document. YAML front matter becomes metadata and is not part of the text."""
    decoded = decode(stream.read())
    # Also out of the front matter, which would be too large with a picture.
    source, inline_data = without_inline_data(decoded.text)
    metadata, text, removed = front_matter.split(source)
    removed += decoded.removed
    yield document(text, metadata, encoding=decoded.encoding, removed=removed, inline_data=inline_data)


def read_html(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The text that a reader of the page sees. Its title becomes metadata."""
    yield page_document(stream.read())


def page_document(data: bytes, *, label: str = "") -> Document:
    """The document of a page. `label` declares its encoding from outside, and counts before what the page declares.

    Raises FileRejected.
    """
    match = _DECLARED.search(data, 0, _DECLARED_BYTES)
    own = (match[1] or match[2]).decode("ascii", "ignore") if match else ""
    decoded = decode(data, declared=encoding_of(label) or encoding_of(own))
    # Most inline data is in attributes. They are not part of the text, but take time to parse.
    source, inline_data = without_inline_data(decoded.text)
    page = Page(source)
    metadata: dict[str, Any] = {"title": page.title} if page.title else {}
    text = page.visible_text()
    if not text and (unclosed := _UNCLOSED.search(source)):
        tag = unclosed[1].lower()
        raise FileRejected(
            f"holds no text that a browser shows: it has no end of <{tag}>, to which <{tag}/> is not one; write "
            f"<{tag}></{tag}>"
        )
    return document(text, metadata, encoding=decoded.encoding, removed=decoded.removed, inline_data=inline_data)


# `<title/>` ends the element in XHTML, but begins it in HTML. These elements contain text, not markup.
_UNCLOSED = regex.compile(
    r"<(title|script|style|textarea|iframe|noscript|xmp|noframes|noembed)\b[^<>]{0,2000}/>", regex.IGNORECASE
)
