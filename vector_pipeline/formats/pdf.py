"""PDF: pdf-inspector reads each page with headings and tables, and the result is compared with PDFium's text."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pypdfium2
import regex
from pypdfium2 import raw

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.cleaning import resolved
from vector_pipeline.formats.markdown import plainer
from vector_pipeline.formats.output import document, range_list
from vector_pipeline.formats.pages import joined, without_headers
from vector_pipeline.formats.pdf_pages import HEADING, Page, inspect, open_pdf, read_page
from vector_pipeline.formats.structure import with_structure
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions

_DATE = regex.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?)?")
# Headings whose letters differ in height by less than this (in points) have the same level.
_SAME_HEIGHT = 0.6
_LEVELS = 6


def read_pdf(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document, with the places of its pages.

    Raises FileRejected for a file that needs a password, is damaged, or has text on less than half of its pages.
    """
    data = stream.read()
    file = open_pdf(data)
    try:
        marked, suspected = inspect(data, file)
        pages = [
            read_page(file, number, marked.get(number, ""), suspected=number in suspected) for number in range(len(file))
        ]
        metadata = _metadata(file)
    finally:
        file.close()
    missing = [number for number, page in enumerate(pages, 1) if page.lacks_text]
    _refuse_scanned(pages, missing)
    text, starts = joined(without_headers(_texts(pages)))
    metadata["page_count"] = len(pages)
    if missing:
        metadata["pages_without_text"] = missing
    if partly := [number for number, page in enumerate(pages, 1) if page.lacks_lines and not page.lacks_text]:
        metadata["pages_partly_without_text"] = partly
    yield document(text, metadata, places={"pages": [(start, number) for number, start in enumerate(starts, 1)]})


def _refuse_scanned(pages: Sequence[Page], missing: Sequence[int]) -> None:
    if 2 * len(missing) < len(pages):
        return
    what = "because its fonts do not define letters" if any(p.is_garbled for p in pages) else "only pictures"
    of_pages = "its page" if len(pages) == 1 else f"{len(missing):,} of its {len(pages):,} pages ({range_list(missing)})"
    raise FileRejected(f"has no text on {of_pages}, {what}; run text recognition (OCR) over the file first")


def _texts(pages: Sequence[Page]) -> list[str]:
    """The text of each page. The height of letters, compared in the whole document, gives the level of a heading."""
    levels = _levels([height for page in pages for height in page.heights if height])
    texts = []
    for page in pages:
        if page.is_garbled:
            texts.append("")
        elif page.marked and page.agrees:
            texts.append(plainer(_with_levels(page.marked, page.heights, levels)))
        else:
            texts.append(with_structure(page.plain, plainer(_with_levels(page.marked, page.heights, levels))))
    return texts


def _levels(heights: Sequence[float]) -> list[float]:
    """The smallest height of each level of headings, largest first."""
    levels: list[float] = []
    for height in sorted(heights, reverse=True):
        if not levels or height < levels[-1] - _SAME_HEIGHT:
            levels.append(height)
    return [level - _SAME_HEIGHT for level in levels[:_LEVELS]]


def _with_levels(marked: str, heights: Sequence[float], levels: Sequence[float]) -> str:
    following = iter(heights)

    def mark(match: regex.Match[str]) -> str:
        height = next(following, 0.0)
        if not height:
            return match[0]
        level = next((number for number, least in enumerate(levels, 1) if height >= least), _LEVELS)
        return f"{'#' * level} {match[2]}"

    return HEADING.sub(mark, marked)


def _metadata(file: pypdfium2.PdfDocument) -> dict[str, Any]:
    stated = file.get_metadata_dict(skip_empty=True)
    found: dict[str, Any] = {
        "title": stated.get("Title", "").removeprefix("Microsoft Word - ").strip(),
        "author": stated.get("Author", "").strip(),
        "created": _iso(stated.get("CreationDate", "")),
        "modified": _iso(stated.get("ModDate", "")),
        "language": _language(file),
    }
    return {name: resolved(value) for name, value in found.items() if value}


def _language(file: pypdfium2.PdfDocument) -> str:
    size = raw.FPDFCatalog_GetLanguage(file, None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    raw.FPDFCatalog_GetLanguage(file, ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return buffer.raw.decode("utf-16-le", "ignore").rstrip("\0").strip()


def _iso(date: str) -> str:
    """A PDF date (`D:20240115103000+01'00'`) in ISO 8601, without the time zone, which few programs set correctly."""
    match = _DATE.match(date)
    if match is None:
        return ""
    year, month, day, hour, minute, second = match.groups()
    found = f"{year}-{month or '01'}-{day or '01'}"
    return f"{found}T{hour}:{minute}:{second or '00'}" if hour else found
