"""Org, AsciiDoc, LaTeX and subtitles. Their headings are converted to Markdown's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import regex

from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.inline_data import without_inline_data
from vector_pipeline.text.readers.metadata import document

_ORG_HEADING = regex.compile(r"(?m)^(\*{1,6}) +(?:(?:TODO|DONE) +)?(\S[^\n]*?)(?:[ \t]+:[\w@:]+:)?[ \t]*$")
_ORG_TITLE = regex.compile(r"(?mi)^#\+title:[ \t]*([^\n]*)\n?")
_ADOC_HEADING = regex.compile(r"(?m)^(={1,6}) +(\S[^\n]*)$")
_TEX_LEVELS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5}
_TEX_HEADING = regex.compile(rf"\\({'|'.join(_TEX_LEVELS)})\*?(?:\[[^\]]*\])?\{{([^{{}}\n]*)\}}")
_TEX_COMMENT = regex.compile(r"(?m)(?<!\\)%[^\n]*\n?")
_TEX_TITLE = regex.compile(r"\\title(?:\[[^\]]*\])?\{([^{}]*)\}")
_TEX_BEGIN, _TEX_END = "\\begin{document}", "\\end{document}"

_TIMES = regex.compile(r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{3} +--> +[^\n]*")
_VTT_BLOCK = regex.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)\b")
_VTT_TAG = regex.compile(r"</?[a-zA-Z][^<>\n]*>|<\d[\d:.]*>")


def read_org(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document. Lines with stars are headings."""
    decoded = decode(stream.read())
    source, inline_data = without_inline_data(decoded.text)
    title = _ORG_TITLE.search(source)
    text = _ORG_HEADING.sub(lambda match: f"{'#' * len(match[1])} {match[2]}", _ORG_TITLE.sub("", source))
    metadata = {"title": title[1].strip()} if title and title[1].strip() else {}
    yield document(text, metadata, encoding=decoded.encoding, removed=decoded.removed, inline_data=inline_data)


def read_asciidoc(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document. Lines with equals signs are headings."""
    decoded = decode(stream.read())
    source, inline_data = without_inline_data(decoded.text)
    text = _ADOC_HEADING.sub(lambda match: f"{'#' * len(match[1])} {match[2]}", source)
    yield document(text, {}, encoding=decoded.encoding, removed=decoded.removed, inline_data=inline_data)


def read_tex(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The body of the LaTeX document without comments. Its sections are headings."""
    decoded = decode(stream.read())
    title = _TEX_TITLE.search(decoded.text)
    text = _TEX_COMMENT.sub("", decoded.text)
    if _TEX_BEGIN in text:
        text = text.partition(_TEX_BEGIN)[2].partition(_TEX_END)[0]
    text = _TEX_HEADING.sub(lambda match: f"\n\n{'#' * _TEX_LEVELS[match[1]]} {match[2].strip()}\n\n", text)
    metadata = {"title": " ".join(title[1].split())} if title and title[1].strip() else {}
    yield document(text.strip("\n"), metadata, encoding=decoded.encoding, removed=decoded.removed)


def read_subtitles(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The spoken text without times and numbers."""
    decoded = decode(stream.read())
    spoken: list[str] = []
    for block in decoded.text.split("\n\n"):
        lines = [line for line in block.strip("\n").split("\n") if line.strip()]
        times = next((number for number, line in enumerate(lines) if _TIMES.match(line)), None)
        if times is None and (not lines or _VTT_BLOCK.match(lines[0])):
            continue
        texts = [_VTT_TAG.sub("", line).strip() for line in lines[0 if times is None else times + 1 :]]
        # Rolling subtitles repeat a line each time it moves up.
        spoken += [line for line in texts if line and (not spoken or line != spoken[-1])]
    yield document("\n".join(spoken), {}, encoding=decoded.encoding, removed=decoded.removed)
