"""A page of a PDF as both libraries read it: pdf-inspector as Markdown, and PDFium as plain text."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import pdf_inspector
import pypdfium2
import regex
from pypdfium2 import raw

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.cleaning import (
    broken_words,
    is_unpronounceable,
    resolved,
    with_words_joined,
    without_mojibake,
)

HEADING = regex.compile(r"(?m)^(#{1,6}) +(\S.*)$")
_WORD = regex.compile(r"\w+")
# A sentence, or text with a bullet in it.
_NO_HEADING = regex.compile(r"(?:\S+\s+){3,}\S*\p{L}{2}[.。]|.+\s•\s.+")
_MARKS = regex.compile(r"[*_`\\]+")

# Fewer letters than this on a page of pictures are a scanner's stamp or a page number, not its text. Pictures are those
# that cover more than a share of the page, and letters that are drawn by lines, without a font.
_FEW_LETTERS = 16
_PICTURE_SHARE = 0.25
_MANY_LINES = 40

# The share of PDFium's words of a page that the marked text must contain. Below it, one of the two lacks letters or has
# them in a wrong order, as can happen with right-to-left scripts.
_AGREEMENT = 0.85

# The most doubted pages that are read again. Each takes some hundredths of a second.
_MAX_DOUBTED = 100

# A page with this many characters is enough for the library to see that a file is text.
_SOME_TEXT = 500


@dataclass(slots=True)
class Page:
    """A page as both libraries read it. `heights` are those of its headings' letters in points, 0.0 if not found.

    If it `is_drawn`, it shows pictures beside few letters or none. If it `is_garbled`, its text is codes of fonts that
    do not define letters. If it `lacks_lines`, that is some lines.
    """

    plain: str
    marked: str
    is_drawn: bool
    is_garbled: bool
    lacks_lines: bool
    heights: list[float]

    @property
    def lacks_text(self) -> bool:
        """Whether the page shows something but has no text."""
        return self.is_garbled or (self.is_drawn and _has_fewer_letters(self.plain, _FEW_LETTERS))

    @property
    def agrees(self) -> bool:
        """Whether the marked text has most of the words of the plain one."""
        words = set(_WORD.findall(self.plain.lower()))
        return not words or len(words & set(_WORD.findall(self.marked.lower()))) >= _AGREEMENT * len(words)


_UNREADABLE = Page("", "", is_drawn=True, is_garbled=False, lacks_lines=False, heights=[])


def open_pdf(data: bytes) -> pypdfium2.PdfDocument:
    """The file, opened by PDFium. Raises FileRejected if it needs a password, is damaged or has no pages."""
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


def inspect(data: bytes, file: pypdfium2.PdfDocument) -> tuple[dict[int, str], set[int]]:
    """The pages as Markdown by their number from 0, and those that may be garbled; none if it cannot read the file."""
    try:
        found = pdf_inspector.extract_pages_markdown_bytes(data)
    except ValueError:
        return {}, set()
    suspected = {of.page - 1 for of in found.ocr_reasons_by_page if any("garbled" in why for why in of.reasons)}
    marked = {page.page: page.markdown for page in found.pages if not page.needs_ocr}
    doubted = [page.page for page in found.pages if page.needs_ocr][:_MAX_DOUBTED]
    if doubted and marked:
        trusted = companion(marked)
        marked |= {number: _inspect_again(file, number, trusted) for number in doubted}
    return marked, suspected


def companion(marked: Mapping[int, str]) -> int:
    """The page beside which doubted ones are read, by its number: the shortest with some text, or else the longest."""
    length = {number: len(text) for number, text in marked.items()}
    with_text = [number for number in length if length[number] >= _SOME_TEXT]
    return min(with_text, key=length.__getitem__) if with_text else max(length, key=length.__getitem__)


def _inspect_again(file: pypdfium2.PdfDocument, doubted: int, trusted: int) -> str:
    """A page as Markdown that the library doubts, such as a table of contents.

    It returns such a page only if it is asked for that one, in a file with others that it trusts. To open a file of two
    pages takes far less time than to open the whole one again. The other page is read too, so a short one is taken.
    """
    two = pypdfium2.PdfDocument.new()
    try:
        two.import_pages(file, [doubted, trusted])
        data = io.BytesIO()
        two.save(data)
        return pdf_inspector.process_pdf_bytes(data.getvalue(), pages=[1]).markdown or ""
    except (ValueError, pypdfium2.PdfiumError):
        return ""
    finally:
        two.close()


def read_page(file: pypdfium2.PdfDocument, number: int, marked: str, *, suspected: bool) -> Page:
    """The page with a number from 0, whose Markdown is known, and which may be garbled."""
    try:
        page = file[number]
    except pypdfium2.PdfiumError:
        return _UNREADABLE
    try:
        text = page.get_textpage()
        plain, codes = without_mojibake(text.get_text_range().replace("\r\n", "\n").replace("\r", "\n"))
        marked = _without_false_headings(without_mojibake(marked)[0], plain)
        headings = HEADING.findall(marked)
        heights = [_height(text, _MARKS.sub("", title)) for _, title in headings]
        text.close()
        broken = broken_words(plain)
        return Page(
            resolved(plain),
            with_words_joined(resolved(marked), broken),
            is_drawn=raw.FPDFPage_CountObjects(page) > 0
            and (_has_fewer_letters(plain, 1) or (_has_fewer_letters(plain, _FEW_LETTERS) and _shows_pictures(page))),
            is_garbled=_has_fewer_letters(plain, codes) or (suspected and is_unpronounceable(plain)),
            lacks_lines=codes >= _FEW_LETTERS,
            heights=heights,
        )
    except pypdfium2.PdfiumError:
        return _UNREADABLE
    finally:
        page.close()


def _without_false_headings(marked: str, plain: str) -> str:
    """Markdown in which headings are no sentences or lists and have words that stand together on the page too.

    Lines that run across two columns can be taken for headings because of the larger letters of one of them.
    """
    whole: str | None = None

    def stands_together(title: str) -> bool:
        nonlocal whole
        if title in plain:
            return True
        if whole is None:
            whole = _squeezed(plain)
        return _squeezed(title) in whole

    def mark(match: regex.Match[str]) -> str:
        is_text = _NO_HEADING.fullmatch(match[2]) is not None
        return match[0] if not is_text and stands_together(match[2]) else match[2]

    return HEADING.sub(mark, marked)


def _squeezed(text: str) -> str:
    return "".join(_WORD.findall(text.lower()))


def _height(text: pypdfium2.PdfTextPage, title: str) -> float:
    """The height of the letters of a heading; 0.0 if it cannot be found on its page."""
    words = title.split()
    search = text.search(" ".join(words[:3]), match_case=True)
    found = search.get_next()
    search.close()
    if found is None:
        return 0.0
    _, bottom, _, top = text.get_charbox(found[0], loose=True)
    return float(abs(top - bottom))


def _shows_pictures(page: pypdfium2.PdfPage) -> bool:
    width, height = page.get_size()
    covered = lines = 0.0
    for item in page.get_objects():
        if item.type == raw.FPDF_PAGEOBJ_PATH:
            lines += 1
        elif item.type in (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_SHADING):
            left, bottom, right, top = item.get_bounds()
            # The bounds of a picture inside a form are not those on the page.
            covered += (right - left) * (top - bottom) if not item.level else width * height
        if lines > _MANY_LINES or covered > _PICTURE_SHARE * width * height:
            return True
    return False


def _has_fewer_letters(text: str, limit: int) -> bool:
    """Whether a text has fewer letters and digits than this. It looks no further than to the last one that counts."""
    return sum(1 for _ in islice(filter(str.isalnum, text), limit)) < limit
