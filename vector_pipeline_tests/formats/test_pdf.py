from __future__ import annotations

import re

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.cleaning import is_unpronounceable, resolved, with_words_joined, without_mojibake
from vector_pipeline.formats.pdf_pages import Page, companion, open_pdf, read_page
from vector_pipeline.formats.structure import with_structure
from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_document
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline.text.documents import Document, places_of

from .made import Line, Picture, page_of, pdf, sentences
from .reading import read

WORDS = "The ferry leaves the island at noon and carries letters, honey and bread to the town. "


def _read(data: bytes, name: str = "a.pdf") -> Document:
    (document,) = read(data, name)
    return document


def _book(pages: int) -> bytes:
    return pdf(
        [
            page_of(
                [
                    f"# Chapter {number}",
                    *(f"Keeper {number} begins.\n{sentences(10 * number + part)}" for part in range(3)),
                ],
                header="The Ferry Handbook",
                footer=f"{number}",
            )
            for number in range(1, pages + 1)
        ],
        title="Ferries",
        author="A. Keeper",
        language="en-GB",
    )


def _pages_with(data: bytes, marked: dict[int, str]) -> list[Page]:
    file = open_pdf(data)
    try:
        return [read_page(file, number, marked.get(number, ""), suspected=False) for number in range(len(file))]
    finally:
        file.close()


def test_headings_metadata_and_pages_are_read_and_page_headers_are_not() -> None:
    document = _read(_book(5))
    assert dict(document.metadata) == {
        "title": "Ferries",
        "author": "A. Keeper",
        "created": "2026-01-02T03:04:05",
        "language": "en-GB",
        "page_count": 5,
    }
    assert "\n# Chapter 3\n" in document.text
    assert "The Ferry Handbook" not in document.text
    assert [line for line in document.text.splitlines() if line.strip().isdigit()] == []
    starts = dict((number, start) for start, number in document.places["pages"])
    for number in range(1, 6):
        assert document.text[starts[number] :].startswith(f"# Chapter {number}")


def test_a_chunk_names_the_pages_that_it_stands_on() -> None:
    document = _read(_book(6))
    chunks = chunk_document(document, tokenizer_for("text-embedding-3-small"), ChunkingConfig(max_tokens=220))
    for chunk in chunks:
        pages = places_of(chunk, document.places)["pages"]
        assert pages == [page for page in range(pages[0], pages[-1] + 1)]
        assert set(pages) >= {int(word) for word in re.findall(r"(?:Keeper|Chapter) (\d)", chunk.text)}
    assert {page for chunk in chunks for page in places_of(chunk, document.places)["pages"]} == set(range(1, 7))


def test_text_that_one_library_loses_is_taken_from_the_other() -> None:
    paragraphs = [f"Page 1 begins.\n{sentences(part)}" for part in range(3)]
    text = _read(pdf([page_of(["# Chapter 1", *paragraphs])])).text
    assert all(paragraph.split("\n")[-1] in text for paragraph in paragraphs)


def test_a_page_of_plain_text_keeps_the_headings_and_tables_that_the_other_library_found() -> None:
    plain = "Ferries\nThe ferry leaves at noon.\nPlace\nEuro\nIsland 12\nTown 7\nFerries leave."
    marked = "# Ferries\n\nleaves\n\n| Place | Euro |\n| --- | --- |\n| Island | 12 |\n| Town | 7 |\n\n## Not on it"
    table = "| Place | Euro |\n| --- | --- |\n| Island | 12 |\n| Town | 7 |"
    found = with_structure(plain, marked).strip()
    assert found == f"# Ferries\n\nThe ferry leaves at noon.\n\n{table}\n\nFerries leave."
    assert with_structure(plain, "# Ferries leave\n\n| 7 |\n| --- |\n| Place |") == plain.replace(
        "Ferries leave.", "\n# Ferries leave\n"
    )


@given(st.text("ab \n"), st.text("ab# |\n"))
def test_no_word_of_plain_text_is_lost_for_a_heading(plain: str, marked: str) -> None:
    headings = "\n".join(line for line in marked.split("\n") if not line.startswith("|"))
    assert re.findall(r"\w+", with_structure(plain, headings)) == re.findall(r"\w+", plain)


def test_a_page_that_a_library_doubts_is_read_with_its_headings() -> None:
    contents = ["# Contents", *(f"Chapter {number} {'.' * 60} {number}" for number in range(1, 25))]
    words = page_of(["# Ferries", sentences(1), sentences(2)])
    text = _read(pdf([words, page_of(contents), words])).text
    assert "# Contents" in text
    assert "Chapter 24" in text


def test_a_doubted_page_is_read_beside_the_shortest_page_of_text() -> None:
    assert companion({0: "word " * 900, 1: "", 2: "word " * 300, 3: "word " * 200, 4: "Page 5"}) == 3
    assert companion({0: "", 1: "Page 2", 2: ""}) == 1


def test_a_heading_over_two_lines_or_with_marks_in_it_is_one() -> None:
    data = pdf([[Line("Ferries and", y=740, size=22), Line("their keepers", y=714, size=22), Line(WORDS, y=680)]])
    (page,) = _pages_with(data, {0: "# Ferries and their *keepers*\n\n# keepers Ferries\n\n# their keepers"})
    assert page.marked == "# Ferries and their *keepers*\n\nkeepers Ferries\n\n# their keepers"


def test_lines_across_columns_and_sentences_are_no_headings() -> None:
    data = pdf([page_of(["# Ferries", sentences(1), sentences(2)])])
    (page,) = _pages_with(data, {0: "# Ferries\n\n## Ferries noon\n\n## The ferry leaves at noon.\n\n## One • two"})
    assert page.marked == "# Ferries\n\nFerries noon\n\nThe ferry leaves at noon.\n\nOne • two"


_PARTS = st.sampled_from(["experi", "ment", "re", "do", "Über", "é", "2", ".", "-", "\u2010", " ", "- ", "\n"])
_APART = regex.compile(r"(?<!\p{L})(\p{L}+)[-\u2010] (?=(\p{Ll}+))")


@given(st.lists(_PARTS).map("".join), st.sets(st.tuples(_PARTS, _PARTS)))
def test_only_words_that_were_broken_at_a_line_end_are_joined(text: str, broken: set[tuple[str, str]]) -> None:
    expected = _APART.sub(lambda match: match[1] if (match[1], match[2]) in broken else match[0], text)
    assert with_words_joined(text, broken) == expected


def test_each_part_of_a_word_that_was_broken_twice_is_joined() -> None:
    broken = {("experi", "men"), ("men", "tation")}
    assert with_words_joined("experi- men- tation, men- only", broken) == "experimentation, men- only"


def test_words_broken_over_lines_are_joined_and_ligatures_resolved() -> None:
    lines = [Line("We repeat the experi-", y=700), Line("ment on the floor.", y=686), Line(WORDS, y=672)]
    assert "We repeat the experiment on the floor" in _read(pdf([lines])).text
    assert (
        resolved("of\u00adfice \ufb01re \u2f08 \u1112\u1161\u11ab\u1100\u1173\u11af x² \uf0b7")
        == "office fire 人 한글 x² •"
    )
    assert resolved("a co\u00ad\nworker, self-\nmade, Berlin-\nMitte") == "a coworker, selfmade, Berlin-\nMitte"
    assert resolved("sep-\narate") == "separate"


def test_mojibake_of_a_font_without_a_map_is_told_from_text() -> None:
    assert without_mojibake("one\n\uf0e1\uf0e2\uf0e3 \ufffd\ufffd text\ntwo") == ("one\ntwo", 9)
    assert without_mojibake("\uf0b7 one \uf0b7 two \uf0b7 three")[1] == 0
    assert is_unpronounceable("".join(c if c.isspace() else chr(ord(c) - 29) for c in sentences(1)))
    assert not is_unpronounceable(sentences(1))


def test_a_page_with_lines_of_mojibake_is_read_without_them_and_noted() -> None:
    codes = "".join(chr(code) for code in (*range(3, 8), *range(14, 26))) * 2
    pages = [page_of(["# Ferries", sentences(number)]) for number in range(3)]
    document = _read(pdf([*pages, [*page_of(["# Fares", sentences(4)]), Line(codes, y=300)], [Line(codes)]]))
    assert (document.metadata["pages_partly_without_text"], document.metadata["pages_without_text"]) == ([4], [5])
    assert "# Fares" in document.text
    assert not set(document.text) & set(codes)


def test_a_scan_is_rejected_naming_its_pages() -> None:
    with pytest.raises(
        FileRejected, match=r"no text on 3 of its 4 pages \(1-2, 4\), only pictures; run text recognition"
    ):
        _read(pdf([[Picture()], [Picture()], page_of([WORDS]), [Picture()]]))
    with pytest.raises(FileRejected, match="no text on its page"):
        _read(pdf([[Picture()]]))


def test_few_words_are_text_unless_a_picture_is_the_page() -> None:
    assert _read(pdf([[Line("Hello World")]])).text.endswith("Hello World")
    assert "pages_without_text" not in _read(pdf([[Line("Part 1", y=40)], page_of([WORDS])])).metadata
    with pytest.raises(FileRejected, match="no text on its page"):
        _read(pdf([[Picture(), Line("Page 1", y=40)]]))


def test_a_few_scanned_pages_among_many_are_noted_and_the_rest_is_read() -> None:
    pages = [page_of([f"Page {number}. {WORDS}", sentences(number)]) for number in range(1, 7)]
    pages.insert(2, [Picture()])
    document = _read(pdf(pages))
    assert document.metadata["pages_without_text"] == [3]
    assert "Page 6" in document.text
    assert [number for start, number in document.places["pages"] if document.text.startswith("Page 3.", start)] == [4]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "holds no text"),
        (b"%PDF-1.7\n%%EOF", "not a whole PDF"),
        (_book(3)[:300], "not a whole PDF"),
        (pdf([]), "not a whole PDF|without pages"),
    ],
)
def test_a_damaged_file_is_rejected(data: bytes, reason: str) -> None:
    with pytest.raises(FileRejected, match=reason):
        _read(data)
