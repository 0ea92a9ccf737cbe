from __future__ import annotations

import pytest

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.markdown import plainer
from vector_pipeline.formats.ole import ole_properties
from vector_pipeline.text.readers.base import ReaderOptions

from .made import page_of, pdf, sentences
from .made_office import docx, hwpx, odp, odt, package, pptx, relationships, xlsx
from .made_ole import SUMMARY, compound, hwp, properties
from .reading import read

BLOCKS = [
    "# Ferries",
    "The ferry leaves at noon.",
    "## Fares",
    [["Place", "Euro"], ["Island", "12"], ["Town|Port", "7"]],
]
TABLE = "| Place | Euro |\n| --- | --- |\n| Island | 12 |\n| Town\\|Port | 7 |"
STATED = {"title": "Ferries", "author": "A. Keeper", "language": "en-GB", "created": "2026-01-02T03:04:05Z"}


def test_word_has_headings_tables_and_what_it_states_of_itself() -> None:
    (document,) = read(docx(BLOCKS), "a.docx")
    assert document.text == f"# Ferries\n\nThe ferry leaves at noon.\n\n## Fares\n\n{TABLE}"
    assert dict(document.metadata) == STATED


def _word(body: str) -> bytes:
    main = f'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{body}'
    return docx([], extra={"word/document.xml": f"{main}</w:body></w:document>"})


def test_words_that_a_tab_separates_stay_apart() -> None:
    line = "<w:p><w:r><w:t>{}</w:t></w:r><w:r><w:tab/></w:r><w:r><w:t>{}</w:t></w:r></w:p>"
    data = _word(line.format("Contents", "Page") + line.format("Introduction", "12"))
    assert read(data, "a.docx")[0].text.split() == ["Contents", "Page", "Introduction", "12"]


def test_a_word_in_several_formats_is_one_and_is_not_taken_for_more_words() -> None:
    letters = "".join(
        f"<w:r><w:rPr><w:{mark}/></w:rPr><w:t>{c}</w:t></w:r>" for c, mark in zip("Ferries", "biubiub", strict=True)
    )
    assert read(_word(f"<w:p>{letters}<w:r><w:t> leave</w:t></w:r></w:p>"), "a.docx")[0].text == "Ferries leave"


def test_rows_of_a_table_that_begin_at_a_later_column_are_read_once() -> None:
    def cell(text: str, width: int) -> str:
        return f'<w:tc><w:tcPr><w:gridSpan w:val="{width}"/></w:tcPr><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>'

    skipped = '<w:trPr><w:gridBefore w:val="1"/></w:trPr>'
    lines = sentences(5, 160).split("\n")
    rows = "".join(f"<w:tr>{skipped}{cell(line, 5)}{cell(str(n), 4)}</w:tr>" for n, line in enumerate(lines))
    grid = f"<w:tblGrid>{'<w:gridCol/>' * 10}</w:tblGrid>"
    text = read(_word(f"<w:tbl>{grid}{rows}</w:tbl>"), "a.docx")[0].text
    assert [text.count(line) for line in lines] == [1] * len(lines)


_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def test_the_first_footnote_of_a_long_document_is_read() -> None:
    lines = sentences(6, 200).split("\n")
    body = "".join(f"<w:p><w:r><w:t>{line}</w:t></w:r></w:p>" for line in lines)
    mark = '<w:p><w:r><w:t>The ferry leaves at noon.</w:t></w:r><w:r><w:footnoteReference w:id="1"/></w:r></w:p>'
    note = "<w:p><w:r><w:footnoteRef/></w:r><w:r><w:t>Not on Sundays.</w:t></w:r></w:p>"
    data = docx(
        [],
        extra={
            "word/document.xml": f"<w:document {_W}><w:body>{mark}{body}</w:body></w:document>",
            "word/footnotes.xml": f'<w:footnotes {_W}><w:footnote w:id="1">{note}</w:footnote></w:footnotes>',
            "word/_rels/document.xml.rels": relationships(
                {"rId1": ("styles", "styles.xml"), "rId2": ("footnotes", "footnotes.xml")}
            ),
        },
    )
    text = read(data, "a.docx")[0].text
    assert text.count("Not on Sundays.") == 1
    assert [text.count(line) for line in lines] == [1] * len(lines)


def test_raised_and_struck_words_and_bold_cells_are_read_without_marks() -> None:
    def run(text: str, mark: str) -> str:
        return f'<w:r><w:rPr>{mark}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'

    raised, lowered = '<w:vertAlign w:val="superscript"/>', '<w:vertAlign w:val="subscript"/>'
    line = run("the 1", "") + run("st", raised) + run(" H", "") + run("2", lowered) + run("O ", "")
    cells = "".join(f"<w:tc><w:p>{run(text, '<w:b/>')}</w:p></w:tc>" for text in ("Place", "Euro"))
    body = f"<w:p>{line}{run('free', '<w:strike/>')}</w:p><w:tbl><w:tr>{cells}</w:tr></w:tbl>"
    assert read(_word(body), "a.docx")[0].text == "the 1st H2O free\n\n| Place | Euro |\n| --- | --- |"


def test_hangul_has_headings_and_tables() -> None:
    (document,) = read(hwpx(["# 도선 안내", "배는 정오에 떠난다.", [["곳", "원"], ["섬", "12"]]]), "a.hwpx")
    assert document.text == "# 도선 안내\n\n배는 정오에 떠난다.\n\n| 곳 | 원 |\n| --- | --- |\n| 섬 | 12 |"
    assert dict(document.metadata) == {"title": "Ferries", "author": "A. Keeper", "language": "ko"}


def test_hangul_that_begins_with_its_author_keeps_him() -> None:
    assert (
        read(hwpx(["Author: A. Keeper", "The ferry leaves."]), "a.hwpx")[0].text
        == "Author: A. Keeper\n\nThe ferry leaves."
    )


def test_hangul_in_its_older_format_has_what_it_states_of_itself() -> None:
    (document,) = read(hwp(["배는 정오에 떠난다.", "둘째 문단"], title="도선 안내", author="등대지기"), "a.hwp")
    assert document.text == "배는 정오에 떠난다.\n\n둘째 문단"
    assert dict(document.metadata) == {
        "title": "도선 안내",
        "author": "등대지기",
        "created": "2026-01-02T03:04:05+00:00",
    }


def test_descriptions_of_pictures_that_programs_wrote_are_left_out() -> None:
    made = "그림입니다. 원본 그림의 이름: a.jpg 원본 그림의 크기: 가로 1200pixel, 세로 153pixel"
    assert plainer(f"![{made}](a.jpg) ![이미지](b.jpg) ![그림입니다](c) ![The harbour](d.jpg)").split() == [
        "The",
        "harbour",
    ]


def test_properties_in_an_unknown_code_page_are_left_out() -> None:
    assert ole_properties(compound({SUMMARY: properties("운임", "A. Keeper", code_page=949)})) == {
        "title": "운임",
        "author": "A. Keeper",
        "created": "2026-01-02T03:04:05+00:00",
    }
    assert ole_properties(compound({SUMMARY: properties("운임", "x", code_page=949)[:70]})) == {}
    assert ole_properties(b"no compound file") == {}


def test_slides_are_places_of_their_text() -> None:
    for data, name in (
        (pptx([("First", "The ferry leaves."), ("Second", "It is back.")]), "a.pptx"),
        (odp(["First. The ferry leaves.", "Second. It is back."]), "a.odp"),
    ):
        (document,) = read(data, name)
        (first, one), (second, two) = document.places["slides"]
        assert (first, one, two) == (0, 1, 2)
        assert document.text[:second].lstrip("# ").startswith("First")
        assert document.text[second:].lstrip("# ").startswith("Second")
        assert document.metadata["slide_count"] == 2


def test_each_sheet_is_a_document_with_its_title_above_its_table() -> None:
    sheets = {"운임": [["Fares of 2026", ""], ["Place", "Euro"], ["Island", "12.5"]], "Empty": [["", ""]], "B": [["x"]]}
    fares, other = read(xlsx(sheets), "a.xlsx")
    assert (fares.record, fares.metadata["sheet"], other.record) == ("운임", "운임", "B")
    assert fares.text == "# 운임\n\nFares of 2026\n\n| Place | Euro |\n| --- | --- |\n| Island | 12.5 |"


def test_open_document_keeps_every_word_of_a_sentence_with_formats() -> None:
    body = (
        '<text:h text:outline-level="2">Fares</text:h>'
        '<text:p><text:span>The</text:span> ferry<text:s text:c="2"/>leaves<text:note><text:note-citation>1'
        "</text:note-citation><text:note-body><text:p>At noon.</text:p></text:note-body></text:note>"
        "<text:line-break/>daily</text:p>"
        "<text:list><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>two</text:p></text:list-item>"
        "</text:list></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>"
        '<table:table-cell table:number-columns-repeated="1000"/></table:table-row></table:table>'
    )
    (document,) = read(odt(body), "a.odt")
    assert document.text.startswith("## Fares\n\nThe ferry  leaves (At noon.)\ndaily\n\n- one\n  - two\n\n| a |")
    assert dict(document.metadata) == {"title": "Ferries", "author": "A. Keeper"}


def test_rich_text_is_read() -> None:
    data = rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 The ferry \b leaves\b0  at noon.\par Second line.}"
    (document,) = read(data, "a.rtf")
    assert "The ferry leaves at noon." in document.text


@pytest.mark.parametrize(
    ("data", "name", "text"),
    [
        (docx(BLOCKS), "a.pdf", "# Ferries"),
        (pdf([page_of(["# Ferries", sentences(1)])]), "a.docx", "# Ferries"),
        (b"<html><body><h1>Ferries</h1><p>noon</p></body></html>", "a.doc", "# Ferries"),
        (xlsx({"Ferries": [["Place", "Euro"], ["Island", "12"]]}), "a.xls", "# Ferries"),
        (rb"{\rtf1 Ferries leave.}", "a.doc", "Ferries leave"),
    ],
)
def test_a_file_of_another_kind_than_its_name_says_is_read_as_what_it_is(data: bytes, name: str, text: str) -> None:
    assert text in read(data, name)[0].text


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MACROS = {"word/vbaProject.bin": b"\0" * 100}


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (docx(BLOCKS)[:400], "a.docx", "not a whole DOCX file"),
        (b"", "a.docx", "holds no text"),
        (OLE + bytes(600) + "EncryptedPackage\0".encode("utf-16-le"), "a.docx", "protected by a password"),
        (docx([], extra=MACROS), "a.docm", "holds macros and no text"),
        (docx(["x"], extra={"word/media/a.png": bytes(3_000_000)}), "a.docx", "uncompresses to 3,00"),
        (xlsx({"A": [["x"]]})[:300], "a.xlsx", "not a whole workbook"),
        (OLE + bytes(600), "a.doc", "is damaged"),
        (OLE + bytes(600), "a.hwp", "is damaged"),
        (odt("<text:p>&undefined;</text:p>"), "a.odt", "is damaged"),
    ],
)
def test_what_cannot_be_read_is_rejected_with_its_reason(data: bytes, name: str, reason: str) -> None:
    with pytest.raises(FileRejected, match=reason):
        read(data, name, ReaderOptions(max_bytes=100_000))


def test_entities_that_expand_without_end_are_refused() -> None:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    content = f'<!DOCTYPE x [<!ENTITY a0 "ha">{laughs}]><x><body><p>&a11;</p></body></x>'
    data = package({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})
    with pytest.raises(FileRejected, match="is damaged"):
        read(data, "a.odt")
