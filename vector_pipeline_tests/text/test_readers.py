from __future__ import annotations

import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings import clean, decode
from vector_pipeline.text.readers import READERS, ReaderOptions, read_documents, readable


def _read(name: str, data: bytes, options: ReaderOptions | None = None) -> list[Document]:
    return list(read_documents(io.BytesIO(data), name, options or ReaderOptions()))


@pytest.mark.parametrize("times", [1, 40])
@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp949", "안녕하세요. 오늘은 날씨가 좋습니다. 똠방각하"),
        ("shift_jis", "こんにちは。今日は天気がいいですね。散歩に行きましょう。"),
        ("gb18030", "今天天气很好，我们一起去公园散步吧。"),
        ("cp1252", "Déjà vu: l'été à la plage, où le café coûte 3 €. "),
        ("cp1251", "Сегодня хорошая погода, пойдём гулять в парк. "),
        ("cp1253", "Καλημέρα, τι κάνεις σήμερα; "),
        ("utf-16", "한국어 and English"),
        ("utf-32", "한국어 and English"),
        ("utf-8-sig", "한국어 and English"),
    ],
)
def test_text_in_other_encodings_is_read_right_and_the_encoding_noted(encoding: str, text: str, times: int) -> None:
    document = _read("a.txt", (text * times).encode(encoding))[0]
    assert document.text == text * times
    assert document.metadata.get("encoding", "utf-8") == encoding.removesuffix("-sig")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "no text"),
        ("a.txt", b" \n\t\n", "no text"),
        ("a.txt", bytes(range(256)) * 8, "binary"),
        ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(200), "binary"),
        ("a.txt.gz", b"\x1f\x8bxx", "gzip"),
        ("a.txt.gz", gzip.compress(b"hello" * 1000, mtime=0)[:-9], "gzip"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2"),
        ("a.jsonl", b'{"text": "a"}\n[1, 2]\n', "line 2"),
        ("a.jsonl", b'{"body": "a"}\n', "'body'"),
        ("a.jsonl", b'{"text": "\xff"}\n', "line 1"),
        ("a.json", b"{", "JSON"),
        ("a.csv", b"id,text\n1,a,b\n", "line 2"),
        ("a.csv", b"id,body\n1,a\n", "'text'"),
        ("a.png", b"x", "suffixes"),
    ],
)
def test_what_cannot_be_read_is_rejected_with_a_reason(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(FileRejected, match=reason):
        _read(name, data)


def test_a_small_file_that_uncompresses_to_a_huge_one_is_rejected() -> None:
    with pytest.raises(FileRejected, match="larger than 1,000,000 bytes"):
        _read("a.txt.gz", gzip.compress(b"a" * 5_000_000, mtime=0), ReaderOptions(max_bytes=1_000_000))


def test_records_become_documents_with_their_fields_as_metadata() -> None:
    lines = [{"id": "x", "text": "하나", "lang": "ko"}, {"text": "two", "n": [1]}]
    data = "\n".join(json.dumps(line) for line in lines).encode()
    for name, packed in (("a.jsonl", data), ("a.ndjson.gz", gzip.compress(data, mtime=0))):
        documents = _read(name, packed)
        assert [(d.record, d.text, dict(d.metadata)) for d in documents] == [
            ("x", "하나", {"lang": "ko"}),
            ("2", "two", {"n": [1]}),
        ]
    assert [d.text for d in _read("a.json", json.dumps(lines).encode())] == ["하나", "two"]
    assert [(d.record, d.text) for d in _read("a.tsv", b"id\ttext\n7\tseven\n")] == [("7", "seven")]
    korean = _read("a.csv", "id,text\n1,안녕하세요 반갑습니다\n".encode("cp949"))
    assert (korean[0].text, korean[0].metadata["encoding"]) == ("안녕하세요 반갑습니다", "cp949")


def test_front_matter_and_titles_become_metadata() -> None:
    markdown = _read("a.md", b"---\ntitle: T\ndate: 2026-01-02\n---\n# H\ntext")[0]
    assert (markdown.text, dict(markdown.metadata)) == ("# H\ntext", {"title": "T", "date": "2026-01-02"})
    page = b"<html><head><title>T</title><style>x{}</style></head><body><h2>H</h2><p>a <b>b</b></p></body></html>"
    html = _read("a.html", page)[0]
    assert (html.text, dict(html.metadata)) == ("## H\n\na b", {"title": "T"})


def test_every_format_is_listed_in_any_case_and_compressed() -> None:
    assert all(readable(f"A{suffix.upper()}") and readable(f"a{suffix}.gz") for suffix in READERS)
    assert not any(readable(name) for name in ("README", ".txt", "a.pdf", "a.gz"))


@given(st.binary(max_size=300), st.sampled_from(sorted(READERS)))
def test_any_bytes_are_read_or_rejected(data: bytes, suffix: str) -> None:
    try:
        documents = _read(f"a{suffix}", data)
    except FileRejected:
        return
    for document in documents:
        assert "\x00" not in document.text
        document.text.encode()


@given(st.text(st.characters(codec=None), max_size=100))
def test_cleaned_text_is_what_postgres_and_json_take(text: str) -> None:
    cleaned, removed = clean(text)
    cleaned.encode()
    assert "\x00" not in cleaned
    assert "\r" not in cleaned
    assert removed >= text.count("\x00")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=200))
def test_utf8_comes_back_as_it_was(text: str) -> None:
    if not text.startswith("\ufeff"):
        assert decode(text.encode()).text == text
