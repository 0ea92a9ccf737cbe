"""Documents made for the tests, byte by byte or with the standard library: nobody's file stands in the repository."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text on a page: points from the left and the bottom, size in points."""

    text: str
    x: float = 72
    y: float = 700
    size: float = 11
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A grey square in the middle of a page, as a scanner's page shows."""


_WORDS = (
    "ferry island honey letter bread morning harbour engine captain garden winter market bridge window candle river "
    "carries brings leaves repairs follows counts paints watches opens closes slowly early twice again always never "
    "the a this every another some many little old green heavy quiet near behind between without under against"
).split()


def sentences(seed: int, words: int = 60) -> str:
    """Sentences that no other seed gives, in lines of a page's width."""
    chosen = random.Random(seed)
    lines, line = [], ""
    for number in range(words):
        word = chosen.choice(_WORDS) + ("." if number % 9 == 8 else "")
        if len(line) + len(word) > 80:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


def page_of(paragraphs: Sequence[str], *, header: str = "", footer: str = "") -> list[Line | Picture]:
    """Lines under one another; those that begin with `#` are headings."""
    lines: list[Line | Picture] = []
    y = 720.0
    if header:
        lines.append(Line(header, y=760, size=9))
    for paragraph in paragraphs:
        marks = len(paragraph) - len(paragraph.lstrip("#"))
        size = {0: 11.0, 1: 22.0, 2: 16.0}.get(marks, 13.0)
        y -= size * 1.6
        for line in paragraph.lstrip("# ").split("\n"):
            lines.append(Line(line, y=y, size=size, bold=marks > 0))
            y -= size * 1.25
    if footer:
        lines.append(Line(footer, x=290, y=40, size=9))
    return lines


def pdf(pages: Iterable[Sequence[Line | Picture]], *, title: str = "", author: str = "", language: str = "") -> bytes:
    """A PDF of text in Helvetica (Latin letters alone) and pictures."""
    contents = [_content(page) for page in pages]
    objects: list[bytes] = []
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(contents)))
    lang = f" /Lang ({language})" if language else ""
    objects.append(f"<< /Type /Catalog /Pages 2 0 R{lang} >>".encode())
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode())
    for font in ("Helvetica", "Helvetica-Bold"):
        name = f"<< /Type /Font /Subtype /Type1 /BaseFont /{font} /Encoding /WinAnsiEncoding >>"
        objects.append(name.encode())
    for number, content in enumerate(contents):
        page = (
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> "
            f"/Contents {6 + 2 * number} 0 R >>"
        )
        objects.append(page.encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    info = f"<< /Title ({_escaped(title)}) /Author ({_escaped(author)}) /CreationDate (D:20260102030405+09'00') >>"
    objects.append(info.encode("cp1252"))
    return _assembled(objects)


def _content(page: Sequence[Line | Picture]) -> bytes:
    parts = []
    for item in page:
        if isinstance(item, Picture):
            parts.append(b"q 400 0 0 500 100 100 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x80 EI Q")
        else:
            font = "F2" if item.bold else "F1"
            text = f"BT /{font} {item.size:g} Tf {item.x:g} {item.y:g} Td ({_escaped(item.text)}) Tj ET"
            parts.append(text.encode("cp1252"))
    return b"\n".join(parts)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def _assembled(objects: Sequence[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    size, last = len(objects) + 1, len(objects)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, last, start)
    return bytes(out)
