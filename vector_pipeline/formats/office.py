"""Word, PowerPoint and RTF, by kreuzberg and dochan; and HWP and HWPX, by dochan.

docs/benchmarks/documents.md shows which library reads which kind, and why. If the first one fails, the other is used.
Both read DOCX, because kreuzberg skips text boxes and charts there.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import kreuzberg
import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.by_dochan import by_dochan, refused
from vector_pipeline.formats.cleaning import resolved
from vector_pipeline.formats.dialects import of_kreuzberg
from vector_pipeline.formats.lost_lines import with_lost_lines
from vector_pipeline.formats.markdown import plainer, without_pictures
from vector_pipeline.formats.ole import ole_properties
from vector_pipeline.formats.output import document
from vector_pipeline.formats.packages import has_macros, open_package, properties
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions

_MIME_TYPES = {
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "doc": "application/msword",
    "ppt": "application/vnd.ms-powerpoint",
    "rtf": "application/rtf",
    "msg": "application/vnd.ms-outlook",
}
_WORD = regex.compile(r"\w+")
_SLIDE = regex.compile(r"(?m)^## Slide (\d+)[ \t]*(?:(?:\n\n# [^\n]*)?\n\nAuthor: [^\n]*$)?")

# Words with a tab between them, in what dochan returns.
_TABBED = regex.compile(r"(?<!\w)(\w+)(?:[ ]*\t[ ]*(\w+))+(?!\w)")

# If the other library finds this many times the letters, in different words, the first one has lost some. If it finds
# that many less, in the same words, the first one has repeated some. Words are not counted: some are split at bold
# letters.
_MORE = 1.15
_FEW_LETTERS = 80


def read_docx(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A document of Word as one document."""
    data = stream.read()
    package = open_package(data, options.max_bytes, "DOCX")
    text = _the_fuller(lambda: _by_kreuzberg(data, "docx"), lambda: by_dochan(data, ".docx"))
    yield _made(text, properties(package), package)


def read_doc(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A document of Word 97 to 2003."""
    data = stream.read()
    yield from _old(data, "doc", ole_properties(data))


def read_rtf(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A document in Rich Text Format."""
    data = stream.read()
    yield from _old(data, "rtf", _kreuzberg_metadata(data, "rtf"))


def _old(data: bytes, kind: str, metadata: dict[str, Any]) -> Iterator[Document]:
    text = _first(lambda: by_dochan(data, f".{kind}"), lambda: _by_kreuzberg(data, kind))
    yield _made(text, metadata)


def read_pptx(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A presentation as one document, with the places of its slides."""
    data = stream.read()
    package = open_package(data, options.max_bytes, "PPTX")
    yield _slides(data, "pptx", properties(package), package)


def read_ppt(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A presentation of PowerPoint 97 to 2003."""
    data = stream.read()
    yield _slides(data, "ppt", ole_properties(data))


def read_hwp(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A document of Hangul (한글) from version 3 on."""
    data = stream.read()
    yield _made(by_dochan(data, ".hwp"), ole_properties(data))


def read_hwpx(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A document of Hangul in its XML format."""
    data = stream.read()
    package = open_package(data, options.max_bytes, "HWPX")
    yield _made(by_dochan(data, ".hwpx"), properties(package))


def _slides(data: bytes, kind: str, metadata: dict[str, Any], package: zipfile.ZipFile | None = None) -> Document:
    text = _first(lambda: by_dochan(data, f".{kind}"), lambda: _by_kreuzberg(data, kind))
    parts, starts, length = [], [], 0
    slides = list(_SLIDE.finditer(text))
    ends = [*(slide.start() for slide in slides[1:]), len(text)]
    for slide, end in zip(slides, ends, strict=bool(slides)):
        body = resolved(plainer(text[slide.end() : end])).strip() + "\n\n"
        starts.append((length, int(slide[1])))
        parts.append(body)
        length += len(body)
    if not slides:
        return _made(text, metadata, package)
    _refuse_macros("".join(parts), package)
    return document("".join(parts), {**metadata, "slide_count": len(slides)}, places={"slides": starts})


def _made(text: str, metadata: dict[str, Any], package: zipfile.ZipFile | None = None) -> Document:
    text = resolved(plainer(text))
    _refuse_macros(text, package)
    return document(text, metadata)


def _refuse_macros(text: str, package: zipfile.ZipFile | None) -> None:
    if package is not None and not text.strip() and has_macros(package):
        raise FileRejected("holds macros and no text; remove it from the source")


def _first(*attempts: Callable[[], str]) -> str:
    """The first text that is not only white space. If all attempts fail, raises the FileRejected of the first."""
    failure: FileRejected | None = None
    for attempt in attempts:
        try:
            text = attempt()
        except FileRejected as rejection:
            failure = failure or rejection
            continue
        if text.strip():
            return text
    if failure is not None:
        raise failure
    return ""


def _by_kreuzberg(data: bytes, kind: str) -> str:
    return of_kreuzberg(str(extracted(data, kind).content))


def extracted(data: bytes, kind: str) -> kreuzberg.ExtractionResult:
    """The result of kreuzberg for a file of a kind. Raises FileRejected."""
    config = kreuzberg.ExtractionConfig(output_format="markdown", use_cache=False)
    config.disable_ocr = True  # type: ignore[attr-defined]  # its stubs lack it
    try:
        return kreuzberg.extract_bytes_sync(data, _MIME_TYPES[kind], config)
    except kreuzberg.KreuzbergError as error:
        raise refused(str(error)) from error


def _kreuzberg_metadata(data: bytes, kind: str) -> dict[str, Any]:
    try:
        stated = dict(extracted(data, kind).metadata)
    except FileRejected:
        return {}
    authors = stated.get("authors")
    return {
        "title": stated.get("title"),
        "author": ", ".join(authors) if isinstance(authors, list) else None,
        "created": stated.get("created_at"),
        "modified": stated.get("modified_at"),
        "language": stated.get("language"),
    }


def _the_fuller(first: Callable[[], str], second: Callable[[], str]) -> str:
    """The first text, or the second if it has far more words, or the same words and far fewer repetitions.

    Lines that only the second has are added to the first, such as footnotes.
    If both fail, raises the FileRejected of the first.
    """
    text = _first(first, second)
    try:
        marked = second()
    except FileRejected:
        return text
    plain, other = plainer(text), plainer(marked)
    words, others = _words(plain), _words(other)
    more = _letters(others - words)
    if (more > _FEW_LETTERS and _letters(others) > _MORE * _letters(words)) or _letters(others) > 2 * _letters(words):
        return other
    total, of_other = (len("".join(_WORD.findall(found))) for found in (plain, other))
    if total > _MORE * of_other + _FEW_LETTERS and _letters(words - others) <= _FEW_LETTERS:
        return other
    return with_lost_lines(_apart(plain, other), plainer(without_pictures(marked)))


def _apart(text: str, other: str) -> str:
    """Text with the words apart that stand together only because a tab between them was lost."""
    glued = _words(text) - _words(other)
    if not glued:
        return text
    tabbed = [[match[1], *match.captures(2)] for match in _TABBED.finditer(other)]
    found = {"".join(parts).lower(): " ".join(parts) for parts in tabbed}
    return _WORD.sub(lambda word: found.get(word[0].lower(), word[0]) if word[0].lower() in glued else word[0], text)


def _letters(words: set[str]) -> int:
    return sum(map(len, words))


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
