from __future__ import annotations

import io
import struct
import zipfile

import pytest

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.by_dochan import refused
from vector_pipeline.formats.drawings import drawn_in_stream

from .made_office import package, relationships, xlsx
from .made_ole import compound
from .reading import read

ROWS = [["Place", "Euro"], ["Island", "12"]]
TABLE = "| Place | Euro |\n| --- | --- |\n| Island | 12 |"


def _paragraphs(*lines: str) -> str:
    return "".join(f"<a:p><a:r><a:t>{line[:4]}</a:t></a:r><a:r><a:t>{line[4:]}</a:t></a:r></a:p>" for line in lines)


def _drawing(*lines: str) -> str:
    names = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:x="urn:x"'
    return (
        f"<x:wsDr {names}><x:choice>{_paragraphs(*lines)}</x:choice>"
        f"<x:Fallback>{_paragraphs(*lines)}</x:Fallback></x:wsDr>"
    )


def test_text_boxes_and_titles_of_charts_stand_behind_the_cells_of_their_sheet() -> None:
    parts = {
        "xl/worksheets/_rels/sheet1.xml.rels": relationships({"rId1": ("drawing", "../drawings/drawing1.xml")}),
        "xl/drawings/drawing1.xml": _drawing("Children pay half.", "Island"),
        "xl/drawings/_rels/drawing1.xml.rels": relationships({"rId1": ("chart", "/xl/charts/chart1.xml")}),
        "xl/charts/chart1.xml": _drawing("Fares by year"),
    }
    fares, other = read(xlsx({"운임": ROWS, "B": [["x"]]}, extra=parts), "a.xlsx")
    assert fares.text == f"# 운임\n\n{TABLE}\n\nChildren pay half.\nFares by year"
    assert other.text == "# B\n\nx"


def test_a_damaged_drawing_does_not_stop_the_cells() -> None:
    parts = {
        "xl/worksheets/_rels/sheet1.xml.rels": relationships({"rId1": ("drawing", "../drawings/drawing1.xml")}),
        "xl/drawings/drawing1.xml": "<a",
    }
    assert read(xlsx({"A": ROWS}, extra=parts), "a.xlsx")[0].text == f"# A\n\n{TABLE}"


def test_a_drawing_may_nest_deeper_than_the_stack() -> None:
    deep = 20_000
    parts = {
        "xl/worksheets/_rels/sheet1.xml.rels": relationships({"rId1": ("drawing", "../drawings/drawing1.xml")}),
        "xl/drawings/drawing1.xml": f"{'<g>' * deep}<p><t>Deep down</t></p>{'</g>' * deep}",
    }
    assert read(xlsx({"A": ROWS}, extra=parts), "a.xlsx")[0].text == f"# A\n\n{TABLE}\n\nDeep down"


def test_text_boxes_of_the_old_format_are_found_and_notes_are_not() -> None:
    def record(kind: int, data: bytes) -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    def text_box(kind: int, *pieces: bytes) -> bytes:
        length = sum((len(piece) - 1) // (2 if piece[0] else 1) for piece in pieces)
        head = record(0x5D, struct.pack("<HHHH", 0x15, 18, kind, 1)) + record(0x1B6, struct.pack("<10xHH4x", length, 16))
        return head + b"".join(record(0x3C, piece) for piece in pieces) + record(0x3C, bytes(16))

    globals_ = record(0x809, bytes(16)) + record(0x85, struct.pack("<IHBB", 0, 0, 2, 1) + "운임".encode("utf-16-le"))
    at = len(globals_) + 4
    globals_ = globals_.replace(struct.pack("<IHBB", 0, 0, 2, 1), struct.pack("<IHBB", at, 0, 2, 1)) + record(0x0A, b"")
    sheet = record(0x809, bytes(16)) + text_box(6, b"\0Children pay\nha", b"\1" + "lf 가".encode("utf-16-le"))
    sheet += text_box(0x19, b"\0a note") + record(0x100D, struct.pack("<HBB", 0, 5, 0) + b"Fares")
    assert drawn_in_stream(compound({"Workbook": globals_ + sheet})) == {"운임": ["Children pay", "half 가", "Fares"]}
    assert drawn_in_stream(compound({"Workbook": globals_ + sheet[:30]})) == {}


def test_a_workbook_with_other_slashes_and_letters_in_its_names_is_read() -> None:
    with zipfile.ZipFile(io.BytesIO(xlsx({"A": ROWS}))) as made:
        parts = {name.replace("/", "\\").lower(): made.read(name) for name in made.namelist()}
    assert read(package(parts), "a.xlsx")[0].text == f"# A\n\n{TABLE}"


def test_a_workbook_whose_shared_strings_are_lost_is_read_without_them() -> None:
    rows = '<row r="1"><c t="s"><v>7</v></c><c><v>12</v></c></row><row r="2"><c/><c><v>34</v></c></row>'
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    sheet = {"xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{rows}</sheetData></worksheet>"}
    text = read(xlsx({"A": ROWS}, extra=sheet), "a.xlsx")[0].text
    assert "12" in text
    assert "34" in text


@pytest.mark.parametrize(
    ("why", "shown"),
    [
        ("ERR: DOC OLE 파일 열기 실패: OLE/CFB: truncated data", "format (OLE/CFB: truncated data); open"),
        ("ERR: 알 수 없는 파일 형식: /tmp/reader-x/document.rtf", "format; open"),
        ("ParsingError: word/document.xml is missing", "format (ParsingError: word/document.xml is missing); open"),
    ],
)
def test_a_rejection_names_no_temporary_file_and_is_in_english(why: str, shown: str) -> None:
    assert shown in str(refused(why))
    assert isinstance(refused(why), FileRejected)
