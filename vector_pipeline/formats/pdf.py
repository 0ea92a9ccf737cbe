"""PDF: pdf-inspector reads each page with headings and tables, and the result is compared with PDFium's text."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pdf_inspector
import pypdfium2
import regex
from pypdfium2 import raw

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.cleaning import broken_words, is_mojibake, resolved, with_words_joined
from vector_pipeline.formats.markdown import plainer
from vector_pipeline.formats.output import document, range_list
from vector_pipeline.formats.pages import joined, without_headers
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions

_DATE = regex.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)(\d\d)?)?")
_WORD = regex.compile(r"\w+")
_HEADING = regex.compile(r"(?m)^(#{1,6}) +(\S.*)$")
_MARKS = regex.compile(r"[*_`\\]+")

# Fewer letters than this on a page with pictures are a scanner's stamp or a page number, not its text.
_FEW_LETTERS = 16

# The share of PDFium's words of a page that the marked text must contain. Below it, one of the two lacks letters or has
# them in a wrong order, as can happen with right-to-left scripts. Then PDFium's plain text is used.
_AGREEMENT = 0.7

# The most doubted pages that are read again. Each takes as long as opening the file.
_MAX_DOUBTED = 5

# Headings whose letters differ in height by less than this (in points) have the same level.
_SAME_HEIGHT = 0.6
_LEVELS = 6


@dataclass(slots=True)
class _Page:
    """A page as both libraries read it. `heights` are those of its headings' letters in points, 0.0 if not found."""

    plain: str
    marked: str
    is_drawn: bool
    is_garbled: bool
    heights: list[float]

    @property
    def lacks_text(self) -> bool:
        """Whether the page shows something but has no text."""
        return self.is_garbled or (self.is_drawn and _letters(self.plain) < _FEW_LETTERS)


def read_pdf(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document, with the places of its pages.

    Raises FileRejected for a file that needs a password, is damaged, or has text on less than half of its pages.
    """
    data = stream.read()
    file = _open(data)
    try:
        marked, suspected = _inspect(data)
        pages = [_page(file, number, marked.get(number, ""), number in suspected) for number in range(len(file))]
        metadata = _metadata(file)
    finally:
        file.close()
    missing = [number for number, page in enumerate(pages, 1) if page.lacks_text]
    _refuse_scanned(pages, missing)
    text, starts = joined(without_headers(_texts(pages)))
    metadata["page_count"] = len(pages)
    if missing:
        metadata["pages_without_text"] = missing
    yield document(text, metadata, places={"pages": [(start, number) for number, start in enumerate(starts, 1)]})


def _open(data: bytes) -> pypdfium2.PdfDocument:
    try:
        file = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise FileRejected("is protected by a password; save it without one") from error
        if "security" in str(error).lower():
            raise FileRejected("is encrypted in a way that cannot be read; save it without encryption") from error
        raise FileRejected("is not a whole PDF document; save it again, or fetch it again") from error
    if not len(file):
        file.close()
        raise FileRejected("is a PDF document without pages; save it again, or remove it from the source")
    return file


def _inspect(data: bytes) -> tuple[dict[int, str], set[int]]:
    """The pages as Markdown by their number from 0, and those that may be garbled; none if it cannot read the file."""
    try:
        found = pdf_inspector.extract_pages_markdown_bytes(data)
    except ValueError:
        return {}, set()
    suspected = {of.page - 1 for of in found.ocr_reasons_by_page if any("garbled" in why for why in of.reasons)}
    pages = {page.page: page.markdown for page in found.pages if page.markdown}
    # It leaves out pages that it doubts, such as a table of contents, but returns them if it is asked for that page.
    doubted = [page.page for page in found.pages if page.needs_ocr]
    for page in doubted[:_MAX_DOUBTED]:
        with contextlib.suppress(ValueError):
            pages[page] = pdf_inspector.process_pdf_bytes(data, pages=[page + 1]).markdown or ""
    return pages, suspected


def _page(file: pypdfium2.PdfDocument, number: int, marked: str, suspected: bool) -> _Page:
    try:
        page = file[number]
    except pypdfium2.PdfiumError:
        return _Page("", "", is_drawn=True, is_garbled=False, heights=[])
    try:
        text = page.get_textpage()
        plain = text.get_text_range().replace("\r\n", "\n").replace("\r", "\n")
        headings = _HEADING.findall(marked)
        heights = [_height(text, plain, _MARKS.sub("", title)) for _, title in headings]
        text.close()
        broken = broken_words(plain)
        return _Page(
            resolved(plain),
            with_words_joined(resolved(marked), broken),
            is_drawn=raw.FPDFPage_CountObjects(page) > 0,
            is_garbled=is_mojibake(plain, suspected=suspected),
            heights=heights,
        )
    except pypdfium2.PdfiumError:
        return _Page("", "", is_drawn=True, is_garbled=False, heights=[])
    finally:
        page.close()


def _height(text: pypdfium2.PdfTextPage, plain: str, title: str) -> float:
    """The height of the letters of a heading; 0.0 if it cannot be found on its page."""
    words = title.split()
    search = text.search(" ".join(words[:3]), match_case=True)
    found = search.get_next()
    search.close()
    if found is None:
        return 0.0
    _, bottom, _, top = text.get_charbox(found[0], loose=True)
    return float(abs(top - bottom))


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _refuse_scanned(pages: Sequence[_Page], missing: Sequence[int]) -> None:
    if 2 * len(missing) < len(pages):
        return
    what = "because its fonts do not define letters" if any(p.is_garbled for p in pages) else "only pictures"
    of_pages = "its page" if len(pages) == 1 else f"{len(missing):,} of its {len(pages):,} pages ({range_list(missing)})"
    raise FileRejected(f"has no text on {of_pages}, {what}; run text recognition (OCR) over the file first")


def _texts(pages: Sequence[_Page]) -> list[str]:
    """The text of each page. The height of letters, compared in the whole document, gives the level of a heading."""
    levels = _levels([height for page in pages for height in page.heights if height])
    texts = []
    for page in pages:
        if page.is_garbled:
            texts.append("")
        elif page.marked and _agree(page.marked, page.plain):
            texts.append(plainer(_with_levels(page.marked, page.heights, levels)))
        else:
            texts.append(page.plain)
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

    return _HEADING.sub(mark, marked)


def _agree(marked: str, plain: str) -> bool:
    words = set(_WORD.findall(plain.lower()))
    return not words or len(words & set(_WORD.findall(marked.lower()))) >= _AGREEMENT * len(words)


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
