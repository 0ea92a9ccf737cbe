"""Markdown and HTML: one document a file, with what stands in its head as metadata."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any, BinaryIO

import regex
import yaml
from selectolax.lexbor import LexborHTMLParser

from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings import clean, decode
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.plain import decoding_metadata

_FRONT_MATTER = regex.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", regex.DOTALL)
_DECLARED = regex.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", regex.IGNORECASE)

_BLOCKS = frozenset(
    "address article aside blockquote body dd details dialog div dl dt fieldset figcaption figure footer form h1 h2 h3 "
    "h4 h5 h6 header hr li main nav ol p pre section table td th tr ul".split()
)
_HIDDEN = ("script", "style", "noscript", "template", "svg", "head")


def read_markdown(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document; YAML front matter becomes metadata and is no part of the text."""
    decoded = decode(stream.read())
    text, metadata = decoded.text, decoding_metadata(decoded)
    if match := _FRONT_MATTER.match(text):
        matter = _parsed(match[1])
        if matter is not None:
            text, metadata = text[match.end() :], {**matter, **metadata}
    yield Document(text, metadata)


def _parsed(matter: str) -> dict[str, Any] | None:
    """Front matter as JSON can hold it; None where it is none, and then it is text like any other."""
    try:
        value = yaml.safe_load(matter)
    except yaml.YAMLError:
        return None
    return {str(key): _plain(item) for key, item in value.items()} if isinstance(value, dict) else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    if isinstance(value, str):
        return clean(value)[0]
    return value if isinstance(value, int | float | bool | None) else str(value)


def read_html(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The text that a reader of the page sees; its title becomes metadata."""
    data = stream.read()
    declared = _DECLARED.search(data[:2_048])
    encoding = declared[1].decode().lower() if declared else ""
    try:
        text, metadata = clean(data.decode(encoding))[0], {}
        if encoding not in ("utf-8", "utf8"):
            metadata["encoding"] = encoding
    except (LookupError, UnicodeDecodeError):
        decoded = decode(data)
        text, metadata = decoded.text, decoding_metadata(decoded)
    page = LexborHTMLParser(text)
    title = page.css_first("title")
    if title is not None and title.text(strip=True):
        metadata["title"] = title.text(strip=True)
    page.strip_tags(list(_HIDDEN), recursive=True)
    yield Document(_visible_text(page), metadata)


def _visible_text(page: LexborHTMLParser) -> str:
    """The page's text, headings marked as in Markdown, so that they are cut at and kept as a path."""
    parts: list[str] = []
    root = page.body
    if root is None:
        return ""
    for node in root.traverse(include_text=True):
        tag = node.tag or ""
        if tag == "-text":
            parts.append(regex.sub(r"\s+", " ", node.text_content or ""))
        elif tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            parts.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag == "br":
            parts.append("\n")
        elif tag in ("p", "table", "ul", "ol", "section", "article", "blockquote", "pre", "div"):
            parts.append("\n\n")
        elif tag == "li":
            parts.append("\n- ")
        elif tag in ("td", "th"):
            parts.append(" | ")
        elif tag in _BLOCKS:
            parts.append("\n")
    text = regex.sub(r"[ \t]*\n[ \t]*", "\n", "".join(parts))
    return regex.sub(r"\n{3,}", "\n\n", text).strip()
