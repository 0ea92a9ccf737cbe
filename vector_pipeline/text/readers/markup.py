"""Markdown and HTML: each file is one document, with its front matter or title as metadata."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
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

# The names of encodings in pages that differ from Python's. Latin-1 is read as cp1252, as in browsers.
_LABELS = {
    label: encoding
    for encoding, labels in {
        "cp949": "euc-kr ks_c_5601-1987 ks_c_5601-1989 ksc5601 korean windows-949 cp949",
        "shift_jis": "shift_jis shift-jis sjis x-sjis windows-31j ms_kanji ms932",
        "euc_jp": "euc-jp x-euc-jp",
        "gb18030": "gb18030 gb2312 gbk gb_2312-80 x-gbk chinese cp936",
        "big5": "big5 big5-hkscs cn-big5 x-x-big5",
        "cp1252": "iso-8859-1 iso8859-1 latin1 l1 us-ascii ascii windows-1252 cp1252",
        "cp1254": "iso-8859-9 iso8859-9 latin5 windows-1254",
        "cp874": "tis-620 windows-874 iso-8859-11",
        "koi8_r": "koi8-r koi",
        "koi8_u": "koi8-u",
        "cp866": "ibm866 cp866",
        "mac_roman": "macintosh mac x-mac-roman",
        **{f"cp{page}": f"windows-{page} cp{page} x-cp{page}" for page in (1250, 1251, 1253, 1255, 1256, 1257, 1258)},
        **{f"iso8859_{part}": f"iso-8859-{part} iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    }.items()
    for label in labels.split()
}


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
    data = stream.read()
    match = _DECLARED.search(data, 0, _DECLARED_BYTES)
    label = (match[1] or match[2]).decode("ascii", "ignore").lower() if match else ""
    decoded = decode(data, declared=_LABELS.get(label, ""))
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
    yield document(text, metadata, encoding=decoded.encoding, removed=decoded.removed, inline_data=inline_data)


# `<title/>` ends the element in XHTML, but begins it in HTML. These elements contain text, not markup.
_UNCLOSED = regex.compile(
    r"<(title|script|style|textarea|iframe|noscript|xmp|noframes|noembed)\b[^<>]{0,2000}/>", regex.IGNORECASE
)
