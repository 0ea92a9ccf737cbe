from __future__ import annotations

import re

import pytest

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.cleaning import is_mojibake, resolved
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
    assert is_mojibake("\uf0e1\uf0e2\uf0e3 \ufffd\ufffd text")
    assert not is_mojibake("\uf0b7 one \uf0b7 two \uf0b7 three")
    assert is_mojibake("".join(c if c.isspace() else chr(ord(c) - 29) for c in sentences(1)), suspected=True)
    assert not is_mojibake(sentences(1), suspected=True)


def test_a_scan_is_rejected_naming_its_pages() -> None:
    with pytest.raises(
        FileRejected, match=r"no text on 3 of its 4 pages \(1-2, 4\), only pictures; run text recognition"
    ):
        _read(pdf([[Picture()], [Picture()], page_of([WORDS]), [Picture()]]))
    with pytest.raises(FileRejected, match="no text on its page"):
        _read(pdf([[Picture()]]))


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
        (b"", "not a whole PDF"),
        (b"%PDF-1.7\n%%EOF", "not a whole PDF"),
        (_book(3)[:300], "not a whole PDF"),
        (pdf([]), "not a whole PDF|without pages"),
    ],
)
def test_a_damaged_file_is_rejected(data: bytes, reason: str) -> None:
    with pytest.raises(FileRejected, match=reason):
        _read(data)
