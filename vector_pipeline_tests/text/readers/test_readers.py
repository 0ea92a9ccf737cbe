from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tracemalloc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_document
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline.text.documents import Document, noted, notes_of
from vector_pipeline.text.encodings.decode import TextStream, clean
from vector_pipeline.text.readers import READERS, ReadCounts, ReaderOptions, read_documents, readable
from vector_pipeline_tests.support.awful_files import MAX_FILE_BYTES, awful_files, mended


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


AWFUL = {file.name: file for file in awful_files(length=300_000)}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(AWFUL))
def test_an_awful_file_is_loaded_or_rejected_with_its_reason(name: str) -> None:
    file = AWFUL[name]
    options = ReaderOptions(max_bytes=MAX_FILE_BYTES)
    if file.reason:
        with pytest.raises(FileRejected) as rejection:
            _read(name, file.content, options)
        assert file.reason in str(rejection.value)
        assert _read(name, mended(file), options)
        return
    documents = _read(name, file.content, options)
    assert any(file.holds in document.text for document in documents)
    tokenizer = tokenizer_for("text-embedding-3-small")
    for document in documents[-2:]:
        orjson.dumps(dict(document.metadata))
        for chunk in chunk_document(document, tokenizer, ChunkingConfig()):
            assert document.text[chunk.start : chunk.end] == chunk.text
            assert 0 < chunk.tokens <= 400


def test_front_matter_keeps_what_json_can_hold() -> None:
    metadata = {name: _read(name, AWFUL[name].content)[0].metadata for name in AWFUL if name.startswith("matter-")}
    assert metadata["matter-odd.md"] == {
        "a": ".nan",
        "b": ".inf",
        "c": "123456789012345678901234567890",
        "1": "x",
        "null": "y",
        "d": "2026-01-02",
        "e": [1, {"f": "b'hi'"}],
    }
    assert metadata["matter-date.md"] == {"date": "2026-02-31"}
    assert metadata["matter-crlf.md"] == {"title": "T"}
    assert metadata["matter-surrogates.md"] == {"title": "😀  ", "characters_removed": 2}
    text = {"laughs", "merges", "recursive", "deep", "deeper", "list", "broken", "python", "long", "open"}
    for name in text:
        document = _read(f"matter-{name}.md", AWFUL[f"matter-{name}.md"].content)[0]
        assert (dict(document.metadata), document.text[:3]) == ({}, "---")


def test_a_files_own_fields_and_our_notes_stand_apart() -> None:
    own = b'{"text": "a", "encoding": "gzip", "headings": 5, "vector_pipeline": null}'
    record = _read("a.jsonl", own)[0]
    assert record.metadata == {"encoding": "gzip", "headings": 5, "vector_pipeline": {"field": None}}
    assert notes_of(record.metadata) == {"field": None}
    korean = _read("a.md", "---\nencoding: mine\n---\n안녕하세요. 오늘은 날씨가 좋습니다.".encode("cp949"))[0]
    assert (korean.encoding, korean.metadata["encoding"], notes_of(korean.metadata)["encoding"]) == (
        "cp949",
        "mine",
        "cp949",
    )
    with_path = noted(korean.metadata, {"headings": ["A"]})
    assert with_path == {"encoding": "mine", "vector_pipeline": {"encoding": "cp949", "headings": ["A"]}}
    assert noted({"lang": "ko"}, {"headings": ["A"]}) == {"lang": "ko", "headings": ["A"]}


def test_what_is_taken_out_or_passed_over_is_counted() -> None:
    counts = ReadCounts()
    data = rb'{"text": "a\u0000b", "note": "\ud800"}' + b'\n{"text": ""}\n{"text": null}\n{"text": "c"}\n'
    documents = list(read_documents(io.BytesIO(data), "a.jsonl", ReaderOptions(), counts))
    assert [(d.text, d.record, dict(d.metadata)) for d in documents] == [
        ("ab", "1", {"note": "", "characters_removed": 2}),
        ("c", "4", {}),
    ]
    assert counts == ReadCounts(documents=2, empty=2, removed=2)


def test_numbers_and_dates_of_records_are_kept_to_the_digit() -> None:
    record = b'{"id": 12345678901234567890123, "text": "a", "n": 18446744073709551616, "m": -1, "f": 0.1, "e": 1e999}'
    document = _read("a.jsonl", record)[0]
    assert document.record == "12345678901234567890123"
    assert document.metadata == {"n": "18446744073709551616", "m": -1, "f": 0.1, "e": "1e999"}


def test_front_matter_is_read_by_the_core_schema_of_yaml_1_2() -> None:
    matter = """---
country: NO
zip: 02134
version: 1.10
opens: 12:30:45
on: 2026-01-02
lang: no
draft: true
count: 15
share: 0.25
hex: 0x1F
grouped: 1_000
day: 2026-02-31
at: 2026-01-02T03:04:05+09:00
exact: 2026-01-02T03:04:05.123456789Z
1.10: [off, ~, 007]
tags: !!set {z, a}
explicit: !!int "0777"
---
The shop is open."""
    assert _read("a.md", matter.encode())[0].metadata == {
        "country": "NO",
        "zip": "02134",
        "version": "1.10",
        "opens": "12:30:45",
        "on": "2026-01-02",
        "lang": "no",
        "draft": True,
        "count": 15,
        "share": 0.25,
        "hex": "0x1F",
        "grouped": "1_000",
        "day": "2026-02-31",
        "at": "2026-01-02T03:04:05+09:00",
        "exact": "2026-01-02T03:04:05.123456789Z",
        "1.10": ["off", None, "007"],
        "tags": ["z", "a"],
        "explicit": "0777",
    }
    for broken in ("a: 1\na: 2", "1: x\n'1': y"):
        text = f"---\n{broken}\n---\nText"
        assert (_read("a.md", text.encode())[0].text, _read("a.md", text.encode())[0].metadata) == (text, {})


@pytest.mark.parametrize(
    ("matter", "metadata"),
    [
        (r'{"title": "\ud83d\uDE00 a", "\ud83d\ude00": ["x\ud83d\ude00"]}', {"title": "😀 a", "😀": ["x😀"]}),
        (r'title: "a\ud83d\ude00\ud83c\udf0a"', {"title": "a😀🌊"}),
        (r'title: "\U0000d83d\U0000de00"', {"title": "😀"}),
        (r'title: "half \ud83d, \ude00\ud83d"', {"title": "half , ", "characters_removed": 3}),
        # Only quoted scalars have escapes, and a backslash may be one.
        (r"title: \ud83d\ude00", {"title": r"\ud83d\ude00"}),
        (r"title: '\ud83d\ude00'", {"title": r"\ud83d\ude00"}),
        (r'title: "\\ud83d\\ude00"', {"title": r"\ud83d\ude00"}),
        (r'title: "\\\ud83d\ude00"', {"title": "\\😀"}),
        ('a: 한😀 # "\\ud83d\nb: "\\ud83d\n  \\ude00"', {"a": "한😀", "b": " ", "characters_removed": 2}),
        ('a: |\n  "\\ud83d\\ude00"\nb: "\\ud83d\\ude00"', {"a": '"\\ud83d\\ude00"\n', "b": "😀"}),
    ],
)
def test_halves_of_characters_in_front_matter_become_one(matter: str, metadata: dict[str, object]) -> None:
    document = _read("a.md", f"---\n{matter}\n---\nText".encode())[0]
    assert (document.text, document.metadata) == ("Text", metadata)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(st.characters(codec=None), max_size=20), max_size=4))
def test_json_between_the_marks_of_front_matter_is_read_as_json(fields: dict[str, str]) -> None:
    fields = {f"k{clean(key)[0]}": value for key, value in fields.items()}
    # YAML wants the one control character escaped that JSON need not escape.
    matter = json.dumps(fields).replace("/", r"\/").replace("\x7f", r"\u007f")
    document = _read("a.md", f"---\n{matter}\n---\nText".encode())[0]
    found = {key: value for key, value in document.metadata.items() if key.startswith("k")}
    assert found == {key: clean(value)[0] for key, value in fields.items()}


@given(st.dictionaries(st.text(max_size=8), st.from_regex(r"[-+]?[0-9._:eExo]{1,12}|[A-Za-z~]{1,5}", fullmatch=True)))
def test_plain_scalars_of_front_matter_are_found_by_what_they_say(fields: dict[str, str]) -> None:
    fields = {f"k{n}": value for n, value in enumerate(fields.values())}
    matter = "\n".join(f"{name}: {value}" for name, value in fields.items())
    found = _read("a.md", f"---\n{matter}\n---\nText".encode())[0]
    for name, value in fields.items() if found.text == "Text" else ():
        kept = found.metadata[name]
        if isinstance(kept, bool) or kept is None:
            assert value.lower() in ("true", "false", "null", "~")
        else:
            assert str(kept) == value.strip()


def test_a_number_of_a_record_is_a_number_where_a_double_holds_it_exactly() -> None:
    lines = b'{"id": 1.10, "text": "a", "n": 1.10, "m": 0.12345678901234567890, "e": 1e2}\n{"id": 1.1, "text": "b"}\n'
    first, second = _read("a.jsonl", lines)
    assert (first.record, second.record) == ("1.10", "1.1")
    assert orjson.loads(orjson.dumps(dict(first.metadata))) == {"n": 1.1, "m": "0.12345678901234567890", "e": 100.0}


def test_html_keeps_words_apart_and_code_as_it_is() -> None:
    page = b"""<html><head><title> A
      title </title></head><body><p>one</p>two<div>three<span>four</span></div>
      <table><tr><th>a<th>b<tr><td>1<td>2</table><ul><li>x<li>y</ul>
      <pre><code>def f():
    # no heading
    return 1</code></pre>after<br>break &nbsp; soft&shy;hyphen<h1>Head<br>ing</h1>
      <svg><title>no</title></svg></body></html>"""
    document = _read("a.html", page)[0]
    assert document.metadata == {"title": "A title"}
    assert document.text.split("\n\n") == [
        "one",
        "two",
        "threefour",
        "| a | b\n| 1 | 2",
        "- x\n- y",
        "```\ndef f():\n    # no heading\n    return 1\n```",
        "after\nbreak softhyphen",
        "# Head ing",
    ]


def test_html_is_what_a_browser_shows() -> None:
    formula = (
        "<math><semantics><mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>"
        '<annotation encoding="application/x-tex">E=mc^2</annotation></semantics></math>'
    )
    page = f"""<body style="display:none"><p hidden>hidden</p><p style="color: red; DISPLAY : none !important">hidden</p>
      <div style="visibility:hidden">hidden</div><dialog>hidden</dialog><p hidden="until-found">found</p>
      <p><span><span class="katex-mathml">{formula}</span><span aria-hidden="true">E=mc2</span></span> a</p>
      <p><span><span style="display: none">{formula}</span><img aria-hidden="true" alt="E=mc^2"></span> b</p>
      <p aria-hidden="true">shown</p>
      <ruby>東京<rt>とうきょう</rt></ruby>に<ruby>行<rp>［</rp><rt>い</rt><rp>］</rp></ruby>く
      <form><button>OK</button><button>Cancel</button></form>
      <span style="display:flex">one</span><span style="display:block">two</span>
      <table><tr><td><td></tr></table><h2><div>Block</div>s in a heading</h2></body>"""
    assert _read("a.html", page.encode())[0].text.split("\n\n") == [
        "found",
        "E=mc^2 a",
        "E=mc^2 b",
        "shown",
        "東京(とうきょう)に行［い］く",
        "OK Cancel",
        "one\ntwo",
        "## Block s in a heading",
    ]


def test_lines_of_code_that_are_elements_stay_lines() -> None:
    code = """<pre><code><div class="line">pip install a</div><div>pip install b</div></code></pre>
      <pre><span style="display:block">c = 1</span><span style="display: grid">d = 2\n</span><span>e</span></pre>
      <pre><ol><li>f<li>g</ol></pre><pre><table><tr><td>1<td>h</tr><tr><td>2<td>i</tr></table></pre><xmp>j <b>
k</xmp>"""
    blocks = ["pip install a\npip install b", "c = 1\nd = 2\ne", "f\ng", "1 h\n2 i", "j <b>\nk"]
    assert _read("a.html", code.encode())[0].text == "\n\n".join(f"```\n{block}\n```" for block in blocks)


def test_lines_that_a_page_shows_as_they_are_stay_lines() -> None:
    page = """<code style="white-space: pre-wrap">pip install a
      pip install b</code><div style="color:red; white-space:pre">c = 1
d = 2<p style="white-space: normal">e
f</p></div><p style="white-space:pre-line">g
h</p><textarea>i
j</textarea><p style="white-space: nowrap">k
l</p>"""
    assert _read("a.html", page.encode())[0].text.split("\n\n") == [
        "pip install a\npip install b",
        "c = 1\nd = 2",
        "e f",
        "g\nh",
        "i\nj",
        "k l",
    ]


def test_a_declarative_shadow_root_is_what_shows() -> None:
    page = """<a-card><template shadowrootmode="open"><h2>Card <slot name="t">untitled</slot></h2><slot></slot>
      <b-card><template shadowrootmode="closed"><p>Inner <slot>fallback</slot></p></template></b-card></template>
      <i slot="t">of tides</i>High water at seven.</a-card><template>hidden</template>"""
    assert _read("a.html", page.encode())[0].text.split("\n\n") == [
        "## Card of tides",
        "High water at seven.",
        "Inner fallback",
    ]


def test_a_page_without_text_for_want_of_an_end_says_so() -> None:
    for tag in ("title", "script"):
        page = f'<html><head><{tag} id="x"/></head><body>text</body></html>'
        with pytest.raises(FileRejected, match=f"write <{tag}></{tag}>"):
            _read("a.html", page.encode())


BLOB = "iVBORw0KGgoAAAANSUhEUgAA" * 400


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("a.md", "# Map\n![map](data:image/png;base64,{})\ntext", "# Map\n![map](data:image/png;base64,)\ntext"),
        (
            "a.md",
            "![map][m] text\n\n[m]: DATA:image/png;BASE64,{}==\n",
            "![map][m] text\n\n[m]: DATA:image/png;BASE64,\n",
        ),
        ("a.txt", "url(data:font/woff2;charset=x;base64,{}) text", "url(data:font/woff2;charset=x;base64,) text"),
        ("a.html", "<p>text <img src='data:image/png;base64,{}'></p>", "text"),
        ("a.html", "<p>text <code>data:image/png;base64,{}</code></p>", "text data:image/png;base64,"),
        ("a.jsonl", '{{"text": "text ![](data:image/png;base64,{})"}}', "text ![](data:image/png;base64,)"),
        ("a.org", "* Map\n[[data:image/png;base64,{}]] text", "# Map\n[[data:image/png;base64,]] text"),
        ("a.adoc", "image::data:image/png;base64,{}[] text", "image::data:image/png;base64,[] text"),
        ("a.css", "url(data:font/woff2;base64,{})", "url(data:font/woff2;base64,)"),
        (
            "a.md",
            "![map](data:image/png;name=a%20map.png;base64,{}) text",
            "![map](data:image/png;name=a%20map.png;base64,) text",
        ),
    ],
)
def test_files_written_into_a_text_are_left_out_and_counted(name: str, written: str, read: str) -> None:
    document = _read(name, written.format(BLOB).encode())[0]
    assert (document.text, document.metadata) == (read, {"inline_data_removed": 1})


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.md", "---\ncover: data:image/png;base64,{}\nby: Ann\n---\ntext"),
        ("a.md", '---\nby: Ann\ncover: "data:image/png;base64,{}"\n---\ntext'),
        ("a.jsonl", '{{"text": "text", "cover": "data:image/png;base64,{}", "by": "Ann"}}'),
        ("a.json", '[{{"cover": "data:image/png;base64,{}", "by": "Ann", "text": "text"}}]'),
        ("a.csv", 'text,cover,by\ntext,"data:image/png;base64,{}",Ann\n'),
    ],
)
def test_files_written_into_metadata_are_left_out_and_counted(name: str, written: str, times: int) -> None:
    (document,) = _read(name, written.format(BLOB * times).encode())
    expected = {"cover": "data:image/png;base64,", "by": "Ann", "inline_data_removed": 1}
    assert (document.text, document.metadata) == ("text", expected)


def test_base64_over_lines_is_left_out_to_its_end_and_no_further() -> None:
    lines = "\n".join([BLOB[:76]] * 20)
    document = _read("a.md", f'<img src="data:image/png;base64,\n{lines}\nQmCC==">\nProse\nfollows.'.encode())[0]
    assert document.text == '<img src="data:image/png;base64,">\nProse\nfollows.'
    short = "![dot](data:image/gif;base64,R0lGODlhAQABAAAAACw=) text ;base64, " + "word " * 200
    assert (_read("a.md", short.encode())[0].text, _read("a.md", short.encode())[0].metadata) == (short, {})


def test_rows_keep_lines_in_quotes_and_columns_of_no_name() -> None:
    rows = _read("a.csv", b'id, text ,,note\r\n1,"a ""b""\r\nc",,x\r\n\r\n2,d,e,\r\n')
    assert [(row.record, row.text, dict(row.metadata)) for row in rows] == [
        ("1", 'a "b"\nc', {"note": "x"}),
        ("2", "d", {"column 3": "e", "note": ""}),
    ]


def test_quotes_of_tab_separated_text_are_text_unless_they_are_around_a_field() -> None:
    def texts(data: str) -> list[str]:
        return [row.text for row in _read("a.tsv", data.encode())]

    plain = 'id\ttext\n1\t"Never," she said\n2\t"Hello\n3\tfive inches"\n\n4\t"to be'
    assert texts(plain) == ['"Never," she said', '"Hello', 'five inches"', '"to be']
    assert texts('id\ttext\n1\t"Hello\n') == ['"Hello']
    quoted = 'id\ttext\n1\t"a ""b"""\n2\t"first\n\nsecond"\n3\t"tab\there"\n4\t"key\tvalue\nin two lines"\n'
    assert texts(quoted) == ['a "b"', "first\n\nsecond", "tab\there", "key\tvalue\nin two lines"]
    assert texts('text\tid\n"over\nlines"\t1\n') == ["over\nlines"]


@given(
    st.lists(
        # A field of quotes alone may be an empty one.
        st.text(st.sampled_from("a\"' ,;한"), min_size=1, max_size=12).filter(lambda text: text.strip('" ')),
        min_size=1,
        max_size=30,
    )
)
def test_no_row_of_tab_separated_text_without_quoting_is_lost(texts: list[str]) -> None:
    data = "id\ttext\tnote\n" + "".join(f"{n}\t{text}\tx\n" for n, text in enumerate(texts))
    found = _read("a.tsv", data.encode())
    assert [row.record for row in found] == [str(n) for n in range(len(texts))]
    for row, text in zip(found, texts, strict=True):
        # Quotes around a whole field may be marks: then they are taken off.
        assert row.text in (text, text[1:-1].replace('""', '"'))


def test_a_column_without_a_name_hides_none_of_that_name() -> None:
    rows = _read("a.csv", b"text,,column 2\na,b,c\n")
    assert rows[0].metadata == {"(column 2)": "b", "column 2": "c"}


@pytest.mark.slow
def test_a_stream_of_records_takes_the_memory_of_a_block() -> None:
    line = json.dumps({"text": "A record of some length. " * 40}).encode() + b"\n"
    rows = b"text\n" + b"A record of some length. " * 40 + b"\n"
    for name, data in (("a.jsonl", line * 20_000), ("a.csv", rows + rows[5:] * 20_000)):
        stream = io.BytesIO(data)
        tracemalloc.start()
        count = sum(1 for _ in read_documents(stream, name, ReaderOptions()))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count >= 20_000
        assert peak < len(data) / 2


@given(st.lists(st.sampled_from(["a", "bc", "\r", "\n", "\r\n", "한", "\u2028"]), max_size=40), st.integers(1, 5))
def test_lines_are_the_same_wherever_a_block_ends(pieces: list[str], size: int) -> None:
    class Small(io.BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            return super().read(size)

    text = "".join(pieces)
    # The first piece alone says whether it is text at all.
    assert list(TextStream(Small(b"begin" + text.encode())).lines()) == list(io.StringIO("begin" + text, newline=""))


@given(st.binary(max_size=300), st.sampled_from(sorted(READERS)), st.booleans())
def test_any_bytes_are_read_or_rejected(data: bytes, suffix: str, compressed: bool) -> None:
    try:
        documents = _read(f"a{suffix}" + ".gz" * compressed, gzip.compress(data, mtime=0) if compressed else data)
    except FileRejected:
        return
    for document in documents:
        assert "\x00" not in document.text
        document.text.encode()
        orjson.dumps(dict(document.metadata))


_SOUP = st.lists(
    st.sampled_from(
        "--- \n \r \" ' , ; \t : & * [ ] { } # > - | text id <p> </p> <pre> <!-- \\ud800 \x00 é 한 \ufeff".split(" ")
    ),
    max_size=60,
)


@given(_SOUP, st.sampled_from(sorted(READERS)))
def test_any_syntax_is_read_or_rejected(pieces: list[str], suffix: str) -> None:
    try:
        documents = _read(f"a{suffix}", "".join(pieces).encode())
    except FileRejected:
        return
    for document in documents:
        orjson.dumps(dict(document.metadata))


_STRINGS = st.text(st.characters(codec=None), max_size=30)


def _objects(values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Objects whose keys are still apart when what Postgres does not take is out of them."""
    return st.lists(st.tuples(_STRINGS, values), max_size=4, unique_by=lambda item: clean(item[0])[0]).map(dict)


SURROGATE = re.compile(r"\\ud[89a-f]")
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _STRINGS,
    lambda values: st.lists(values, max_size=4) | _objects(values),
    max_leaves=10,
)


def _kept(value: object) -> object:
    """What becomes of a value."""
    if isinstance(value, str):
        return clean(value)[0]
    if isinstance(value, list):
        return [_kept(item) for item in value]
    if isinstance(value, dict):
        return {_kept(key): _kept(item) for key, item in value.items()}
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


@pytest.mark.slow
@given(st.lists(_objects(_VALUES), min_size=1, max_size=5), st.booleans())
def test_records_come_back_as_they_were(others: list[dict[str, object]], escaped: bool) -> None:
    records = [{**other, "text": f"text {n}", "id": n} for n, other in enumerate(others)]
    # Halves of characters cannot stand in UTF-8 but escaped.
    escaped = escaped or bool(SURROGATE.search(repr(records)))
    lines = [json.dumps(record, ensure_ascii=escaped) for record in records]
    documents = _read("a.jsonl", "\r\n".join(lines).encode())
    for record, document in zip(records, documents, strict=True):
        expected = _kept({key: value for key, value in record.items() if key not in ("text", "id")})
        assert isinstance(expected, dict)
        assert (document.text, document.record) == (record["text"], str(record["id"]))
        assert {key: document.metadata[key] for key in expected} == expected
        assert document.metadata.keys() - expected.keys() == ({"characters_removed"} if document.removed else set())


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20), min_size=2, max_size=2),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_rows_come_back_as_they_were(cells: list[list[str]], delimiter: str, end: str, encoding: str) -> None:
    table = io.StringIO(newline="")
    writer = csv.writer(table, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["text", "note"])
    writer.writerows([["t" + text, note] for text, note in cells])
    documents = _read("a.csv", table.getvalue().encode(encoding))
    assert [(d.text, d.metadata["note"]) for d in documents] == [(clean("t" + t)[0], clean(n)[0]) for t, n in cells]
