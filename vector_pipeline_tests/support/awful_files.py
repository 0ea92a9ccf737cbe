"""Files that nobody wants and every corpus has, each with what must become of it."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_FILE_BYTES = 16 * 1024 * 1024
"""The limit under which the files are meant to be read."""

KOREAN = "도서관은 월요일에 쉽니다. 회원은 누구나 공구를 두 주 동안 빌릴 수 있습니다.\n"
JAPANESE = "図書館は月曜日に休みです。会員の方は、道具を二週間まで借りることができます。\n"
CHINESE = "图书馆星期一不开门。会员可以免费借用工具两个星期，过期每天要交五元钱。\n"
TAIWANESE = "圖書館星期一不開門。會員可以免費借用工具兩個星期，過期每天要交五元。\n"
RUSSIAN = "Библиотека в понедельник закрыта. Члены клуба могут брать инструменты на две недели.\n"
GREEK = "Η βιβλιοθήκη είναι κλειστή τη Δευτέρα. Τα μέλη μπορούν να δανείζονται εργαλεία.\n"
FRENCH = "La bibliothèque est fermée le lundi, et les membres peuvent emprunter les outils à l'étage.\n"


@dataclass(frozen=True)
class AwfulFile:
    """`reason` is a part of why it is rejected; without one it is loaded, and `holds` is a part of its text."""

    name: str
    content: bytes = field(repr=False)
    why: str
    reason: str = ""
    holds: str = ""


def awful_files(*, length: int = 1_000_000) -> list[AwfulFile]:
    """All of them; what is awful by its length is about `length` characters long."""
    files = [*_plain(length), *_encoded(), *_markdown(length), *_html(length), *_json(length), *_csv(length), *_gzip()]
    assert len({file.name for file in files}) == len(files)
    return files


def write(folder: Path, files: list[AwfulFile]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).write_bytes(file.content)


def _plain(length: int) -> Iterator[AwfulFile]:
    noise = random.Random(7).randbytes(4_000)
    yield AwfulFile("empty.txt", b"", "no bytes at all", "no text")
    yield AwfulFile("blank.txt", b" \t\r\n \x0c\n", "white space only", "no text")
    yield AwfulFile("spaces.txt", b" " * length, "white space without end", "no text")
    yield AwfulFile("newlines.txt", b"\n" * length, "lines without end, and nothing in them", "no text")
    yield AwfulFile("nuls.txt", bytes(4_096), "what a file system leaves after a crash", "binary")
    yield AwfulFile("noise.txt", noise, "random bytes", "binary")
    yield AwfulFile("png.txt", b"\x89PNG\r\n\x1a\n" + noise, "an image by another name", "PNG")
    yield AwfulFile("pdf.txt", b"%PDF-1.7\n1 0 obj << /Length 5 >>\n", "a PDF by another name", "PDF")
    yield AwfulFile("docx.txt", b"PK\x03\x04\x14\x00" + noise, "an Office document by another name", "ZIP")
    yield AwfulFile("rtf.txt", rb"{\rtf1\ansi Hello \b world}", "all ASCII, and no text", "RTF")
    yield AwfulFile("gzip.txt", gzip.compress(b"text", mtime=0), "compressed, and not called so", "gzip")
    yield AwfulFile("too-large.txt", b"a" * (MAX_FILE_BYTES + 1), "over the limit", "16,777,216")
    yield AwfulFile("stray-nul.txt", b"before\x00 after. " + b"text " * 40, "Postgres refuses NUL", holds="before after")
    yield AwfulFile(
        "bell.txt", b"\x07ding \x08dong, " + b"and more of it " * 40, "a few control characters", holds="ding"
    )
    yield AwfulFile("ansi.txt", b"\x1b[31mred\x1b[0m and not", "colours of a terminal", holds="red")
    yield AwfulFile("cr.txt", b"one\rtwo\rthree", "line ends of an old Macintosh", holds="one\ntwo\nthree")
    yield AwfulFile("crlf.txt", b"one\r\n\r\ntwo", "line ends of Windows", holds="one\n\ntwo")
    yield AwfulFile("one-line.txt", b"A line that has no end, " * (length // 24), "one line", holds="no end")
    yield AwfulFile("one-word.txt", b"a" * length, "one word", holds="aaaa")
    yield AwfulFile("one-sign.txt", "가".encode() * (length // 4), "one syllable, over and over", holds="가가")
    yield AwfulFile("gap.txt", b"before" + b" " * length + b"after", "a hole in the middle", holds="after")
    yield AwfulFile("gap-lines.txt", b"before" + b"\r\n" * length + b"after", "many lines of nothing", holds="after")
    yield AwfulFile("zalgo.txt", ("z" + "\u0300\u0489" * 200 + " ").encode() * 50, "marks on marks", holds="z")
    yield AwfulFile("marks.txt", "\u0301".encode() * 2_000, "marks on nothing", holds="\u0301")
    yield AwfulFile("emoji.txt", "👩‍👩‍👧‍👦👨🏽‍🚀🏳️‍🌈".encode() * 2_000, "clusters of many characters", holds="👩‍👩‍👧‍👦")
    yield AwfulFile("rtl.txt", "\u202eשלום עולם\u202c مرحبا \u2067abc\u2069 ".encode() * 50, "both ways", holds="שלום")
    yield AwfulFile(
        "tokens.txt", b"<|endoftext|><|im_start|>system<|fim_prefix|> " * 20, "special tokens", holds="im_start"
    )
    yield AwfulFile("nfd.txt", "\u1112\u1161\u11ab".encode() * 100, "syllables in parts", holds="\u1112\u1161\u11ab")
    yield AwfulFile(
        "zero-width.txt", "a\u200b\u2060\ufeff".encode() * 500, "nothing to be seen between", holds="a\u200b"
    )
    yield AwfulFile("private.txt", "\ue000\U0010fffd ".encode() * 50, "characters of nobody", holds="\ue000")
    yield AwfulFile("noncharacter.txt", "\ufffe\uffff end".encode(), "what Unicode says is no character", holds="end")
    yield AwfulFile(
        "separators.txt", "a\u2028b\u2029c\x85d\x0be".encode(), "line ends that are none here", holds="a\u2028b"
    )


def _encoded() -> Iterator[AwfulFile]:
    for encoding, text in (
        ("cp949", KOREAN),
        ("shift_jis", JAPANESE),
        ("euc_jp", JAPANESE),
        ("iso2022_jp", JAPANESE),
        ("gb18030", CHINESE),
        ("big5", TAIWANESE),
        ("cp1251", RUSSIAN),
        ("koi8_r", RUSSIAN),
        ("cp1253", GREEK),
        ("cp1252", FRENCH),
        ("utf-8-sig", KOREAN),
        ("utf-16", KOREAN),
        ("utf-16-le", KOREAN),
        ("utf-16-be", KOREAN),
        ("utf-32", KOREAN),
    ):
        yield AwfulFile(f"{encoding}.txt", text.encode(encoding), "not UTF-8", holds=text[:30].strip())
    yield AwfulFile("utf-16-be-mark.txt", b"\xfe\xff" + KOREAN.encode("utf-16-be"), "the other way", holds="도서관은")
    yield AwfulFile("utf-16-cut.txt", KOREAN.encode("utf-16")[:-1], "half a character at its end", "utf-16")
    yield AwfulFile("utf-8-cut.txt", KOREAN.encode()[:-3], "cut off in a character", "line 1")
    yield AwfulFile("utf-8-broken.txt", KOREAN.encode() * 3 + b"\xff\n" + KOREAN.encode(), "a byte too many", "line 4")
    yield AwfulFile("one-byte.txt", b"\xe9", "nobody can tell", "cannot be detected")
    yield AwfulFile("mixed.txt", KOREAN.encode("cp949") + KOREAN.encode(), "put together from two files", "UTF-8")
    mixed = FRENCH.encode("cp1252") * 30 + FRENCH.encode() + FRENCH.encode("cp1252") * 30
    yield AwfulFile("mixed-french.txt", mixed, "any byte decodes in cp1252", "mixes encodings")
    yield AwfulFile(
        "cp1258.txt", "Hôm nay tr\u01a1\u0300i râ\u0301t đe\u0323p.".encode("cp1258"), "unknown", "cannot be detected"
    )


def _markdown(length: int) -> Iterator[AwfulFile]:
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(
        f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    merges = "a: &a {x: 1}\n"
    merges += "".join(
        f"{new}: &{new}\n  <<: [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    odd = "a: .nan\nb: .inf\nc: 123456789012345678901234567890\n1: x\nnull: y\nd: 2026-01-02\ne: [1, {f: !!binary aGk=}]"
    surrogates = 'title: "\\ud83d\\ude00 \\ud800 \\0"'
    for name, matter, why in (
        ("laughs", laughs, "a billion of them"),
        ("merges", merges, "a billion, merged"),
        ("recursive", "a: &a [*a]", "a list in itself"),
        ("deep", "a: " + "[" * 5_000 + "]" * 5_000, "nested by brackets"),
        ("deeper", "- " * 20_000 + "x", "nested by dashes"),
        ("odd", odd, "values that JSON has not"),
        ("surrogates", surrogates, "halves of characters"),
        ("date", "date: 2026-02-31", "no such day"),
        ("list", "- a\n- b", "no mapping"),
        ("broken", "a: [", "no YAML"),
        ("python", "a: !!python/object/apply:os.system [exit]", "code"),
        ("long", "\n".join(f"key{n}: value" for n in range(20_000)), "more than anybody needs"),
        ("digits", "a: " + "9" * 10_000, "more digits than Python writes"),
        ("empty", "", "nothing in it"),
    ):
        content = f"---\n{matter}\n---\n# Bees\n\nBees make honey.\n".encode()
        yield AwfulFile(f"matter-{name}.md", content, f"front matter: {why}", holds="Bees make honey")
    yield AwfulFile(
        "matter-crlf.md", b"---\r\ntitle: T\r\n---\r\nText of it.", "front matter of Windows", holds="Text of it"
    )
    yield AwfulFile("matter-open.md", b"---\ntitle: T\n" + b"Text.\n" * 9, "front matter without end", holds="Text.")
    yield AwfulFile("headings.md", b"# H\n" * (length // 10), "headings and nothing else", holds="# H")
    yield AwfulFile(
        "levels.md", b"".join(b"#" * (n % 7) + b" H\n" for n in range(length // 40)), "in and out", holds="H"
    )
    yield AwfulFile("fences.md", b"```\n" * (length // 10) + b"end", "fences and nothing else", holds="end")
    yield AwfulFile("fence-open.md", b"```\n" + b"code of it\n" * (length // 40), "code without end", holds="code of it")
    yield AwfulFile("quotes.md", b">" * (length // 10) + b" quoted", "quotes in quotes", holds="quoted")
    yield AwfulFile(
        "items.md", b"".join(b" " * (n % 500) + b"- x\n" for n in range(2_000)), "items in items", holds="- x"
    )
    yield AwfulFile(
        "table.md", b"| a | b |\n|---|---|\n" + b"| 1 | 2 |\n" * (length // 40), "a long table", holds="| 1 |"
    )


def _html(length: int) -> Iterator[AwfulFile]:
    yield AwfulFile("divs.html", b"<div>" * (length // 10) + b"deep inside", "nested", holds="deep inside")
    yield AwfulFile("inline.html", b"<b><i>" * (length // 50) + b"bold", "nested and never closed", holds="bold")
    yield AwfulFile("frames.html", b"<html><frameset><frame src=a></frameset></html>", "no body", "no text")
    yield AwfulFile("script.html", b"<script>let text = 1</script><style>p{}</style>", "nothing to be seen", "no text")
    yield AwfulFile("comment.html", b"<p>seen</p><!-- <p>not", "a comment without end", holds="seen")
    yield AwfulFile("broken.html", b"<p>a<table><tr><td>b</p><li>c</h1><div", "tags in no order", holds="b")
    yield AwfulFile(
        "entities.html", b"<p>&lt;b&gt; &#0; &#xD800; &#x110000; &amp;amp; &nbsp;end", "entities", holds="<b>"
    )
    meta = b'<meta charset="%s"><title>x</title><p>'
    yield AwfulFile("utf-16-meta.html", meta % b"utf-16" + KOREAN.encode(), "says UTF-16 in ASCII", holds="도서관은")
    yield AwfulFile("euc-kr.html", meta % b"euc-kr" + KOREAN.encode("cp949"), "as it says", holds="도서관은")
    yield AwfulFile("lie.html", meta % b"iso-8859-1" + KOREAN.encode("cp949") * 5, "not as it says", holds="도서관은")
    yield AwfulFile("lie-utf-8.html", meta % b"utf-8" + KOREAN.encode("cp949") * 5, "not as it says", holds="도서관은")
    yield AwfulFile(
        "hex.html", meta % b"hex" + KOREAN.encode(), "a codec of Python's that is no encoding", holds="도서관은"
    )
    yield AwfulFile(
        "mark.html", b"\xef\xbb\xbf" + meta % b"euc-kr" + KOREAN.encode(), "mark against meta", holds="도서관은"
    )
    yield AwfulFile("attribute.html", b'<p title="' + b"x" * length + b'">text</p>', "a long attribute", holds="text")
    yield AwfulFile("not-html.html", b"a < b > c & d", "no tags", holds="a < b > c & d")


def _json(length: int) -> Iterator[AwfulFile]:
    good = b'{"id": 1, "text": "A good one."}\n'
    depth = 100_000
    yield AwfulFile("deep.json", b"[" * depth + b"]" * depth, "nested", "nests deeper")
    yield AwfulFile("deep-open.json", b'{"text":' * depth, "nested and never closed", "nests deeper")
    yield AwfulFile(
        "deep.jsonl", good + b'{"text": "a", "x": ' + b"[" * 300 + b"]" * 300 + b"}", "metadata", "line 2 nests"
    )
    yield AwfulFile(
        "nan.jsonl", good + b'{"text": "a", "n": NaN}', "Python's idea of JSON", "line 2 is not JSON (it holds NaN"
    )
    yield AwfulFile("infinite.jsonl", b'{"text": "large", "n": 1e999, "m": -1e999}', "no double", holds="large")
    digits = b'{"id": 123456789012345678901234567890, "text": "long", "n": ' + b"9" * 5_000 + b"}"
    yield AwfulFile("digits.jsonl", digits, "more digits than any number has", holds="long")
    halves = rb'{"text": "half \ud800 and \udc00\ud800 end", "a\ud800": "\udfff"}'
    yield AwfulFile("surrogates.jsonl", halves, "halves of characters", holds="half  and  end")
    yield AwfulFile(
        "nul.jsonl", rb'{"id": "\u0000", "text": "no\u0000ne", "k\u0000": "v\u0000"}', "NUL, escaped", holds="none"
    )
    yield AwfulFile("raw-nul.jsonl", good + b'{"text": "a\x00"}', "NUL as it is", "line 2 is not JSON")
    yield AwfulFile("cut.jsonl", good + good[:-5], "cut off", "line 2 is not JSON")
    yield AwfulFile("twice.jsonl", good + good, "the same id twice", "line 2 has the same 'id' as line 1")
    yield AwfulFile(
        "number.jsonl", b'{"text": "no id"}\n{"id": "1", "text": "an id"}', "an id like a number", "as line 1"
    )
    yield AwfulFile(
        "field-nul.jsonl",
        rb'{"text": "a", "b": 1, "b\u0000": 2}',
        "fields of one name once NUL is gone",
        "line 1 has the field 'b' twice",
    )
    yield AwfulFile(
        "field-twice.jsonl", good + b'{"text": "a", "text": "b"}', "which of them?", "line 2 has the field 'text' twice"
    )
    yield AwfulFile("list.jsonl", good + b"[1, 2]", "no object", "line 2 is no object")
    yield AwfulFile(
        "no-text.jsonl", good + b'\n{"body": "a"}', "the text is elsewhere", "line 3 has no text in the field 'text'"
    )
    yield AwfulFile("number-text.jsonl", b'{"text": 7}', "a number for a text", "line 1 has no text")
    yield AwfulFile(
        "id-object.jsonl",
        b'{"id": {"a": 1}, "text": "a"}',
        "an object for an id",
        "line 1 has neither text nor a number",
    )
    yield AwfulFile(
        "id-long.jsonl", b'{"id": "' + b"x" * 2_000 + b'", "text": "a"}', "an essay for an id", "2,000 characters"
    )
    yield AwfulFile(
        "metadata.jsonl", b'{"text": "a", "m": "' + b"x" * 70_000 + b'"}', "each chunk would carry it", "65,536"
    )
    yield AwfulFile("null.jsonl", b'{"text": null}\n{"text": ""}\n' + good, "some without text", holds="A good one.")
    yield AwfulFile("empty.jsonl", b'{"text": ""}\n{"text": " "}', "all without text", "no text")
    yield AwfulFile(
        "blank-lines.jsonl", b"\r\n\r\n" + good + b" \n\n" + b'{"text": "Another."}', "gaps", holds="Another."
    )
    yield AwfulFile("mark.jsonl", b"\xef\xbb\xbf" + good, "a byte order mark", holds="A good one.")
    yield AwfulFile(
        "utf-16.jsonl", (good.decode() + '{"text": "다른 것."}').encode("utf-16"), "of Windows", holds="다른 것."
    )
    yield AwfulFile(
        "cp949.jsonl", good + ('{"text": "' + KOREAN.strip() + '"}').encode("cp949"), "not UTF-8", holds="도서관은"
    )
    yield AwfulFile("bytes.jsonl", good + b'{"text": "\xff\xfe"}', "no encoding", "line 2 (byte 0xff)")
    yield AwfulFile(
        "line.jsonl", b'{"text": "' + b"A long line. " * (length // 13) + b'"}', "one record", holds="A long line."
    )
    yield AwfulFile("utf-16.json", ('[{"text": "다른 것."}]').encode("utf-16"), "of Windows", holds="다른 것.")
    yield AwfulFile("string.json", b'"a text and nothing else"', "a text", holds="nothing else")
    yield AwfulFile("number.json", b"7", "no record", "record 1 is no object")
    yield AwfulFile("empty-list.json", b"[]", "no records", "no text")
    yield AwfulFile("cut.json", b'[\n{"text": "a"},\n', "cut off", "line 3, column 1")
    yield AwfulFile("lines.json", good + good.replace(b"1", b"2"), "lines called .json", "extra data at line 2")
    yield AwfulFile("empty-keys.json", b'{"": 1, "text": "a key of nothing"}', "a key without a name", holds="a key")


def _csv(length: int) -> Iterator[AwfulFile]:
    head = b"id,text,note\n"
    yield AwfulFile(
        "open.csv", head + b'1,a,b\n2,"never closed,c\n3,d,e\n', "a quote never closed", "line 3 has a quote"
    )
    yield AwfulFile("quote.csv", head + b'1,a,b\n2,"a"b,c\n', "text behind a quote", "line 3 cannot be read")
    long = b"1," + b"A long field. " * (length // 14) + b",x\n"
    yield AwfulFile("field.csv", head + long, "longer than Python's limit", holds="A long field.")
    yield AwfulFile("ragged.csv", head + b"1,a,b\n2,a\n", "a field too few", "line 3 has 2 fields")
    lines = head + b'1,"a\nb\r\nc",x\n2,a,b,c\n'
    yield AwfulFile("ragged-lines.csv", lines, "a field too many, behind a record of three lines", "line 5 has 4 fields")
    yield AwfulFile(
        "trailing.csv",
        head.strip() + b",,\n" + b"1,a trailing comma,b,,\n2,c,d,,,,\n",
        "of a spreadsheet",
        holds="a trailing",
    )
    yield AwfulFile(
        "same.csv", b"text,note,note\na,b,c\n", "two fields of one name", "line 1 names the field 'note' twice"
    )
    yield AwfulFile("unnamed.csv", b",text,\n0,a column without a name,\n", "an index of pandas", holds="a column")
    yield AwfulFile("head.csv", head, "names and nothing else", "no text")
    yield AwfulFile("no-head.csv", b"1,a\n2,b\n", "no names", "line 1 names no field 'text'")
    yield AwfulFile("nul.csv", head + b"1,no\x00ne of it,b\n" + b"2,as it should be,b\n" * 1, "NUL", holds="none of it")
    yield AwfulFile("sep.csv", b"sep=;\r\nid;text\r\n1;as Excel has it\r\n", "a hint to Excel", holds="as Excel has it")
    yield AwfulFile(
        "semicolons.csv", b"id;text\n1;half of Europe, and more\n", "other commas", holds="half of Europe, and more"
    )
    yield AwfulFile("mark.csv", b'\xef\xbb\xbf"text",id\nwith a mark,1\n', "mark and quote", holds="with a mark")
    yield AwfulFile("utf-16.csv", f"id\ttext\n1\t{KOREAN}".encode("utf-16"), "Unicode text of Excel", holds="도서관은")
    yield AwfulFile("cr.csv", b"id,text\r1,lines of\r2,a Macintosh\r", "bare carriage returns", holds="a Macintosh")
    late = b"id,text\n" + b"".join(b"%d,A row of plain ASCII text.\n" % n for n in range(45_000))
    late += f"k,{KOREAN}".encode("cp949")
    yield AwfulFile("late.csv", late, "cp949, and ASCII for more than a megabyte", holds="도서관은")
    late = b"id,text\n" + f"k,{KOREAN}".encode() + b"1,\xff\n"
    yield AwfulFile("late-broken.csv", late, "UTF-8 up to there", "line 3 (byte 0xff)")
    yield AwfulFile(
        "twice.csv", head + b"7,a,b\n8,a,b\n7,c,d\n", "the same id twice", "line 4 has the same 'id' as line 2"
    )
    yield AwfulFile("quotes.tsv", b"id\ttext\n1\t5\" and 6' of it\n", "inches and feet", holds="5\" and 6'")


def _gzip() -> Iterator[AwfulFile]:
    text = b"Compressed, and read. " * 20
    packed = gzip.compress(text, mtime=0)
    yield AwfulFile("good.txt.gz", packed, "as it should be", holds="Compressed, and read.")
    yield AwfulFile("cut.txt.gz", packed[:-9], "cut off", "not a whole gzip file")
    yield AwfulFile(
        "cut.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], "cut off", "not a whole gzip file"
    )
    yield AwfulFile("plain.txt.gz", text, "not compressed at all", "not a whole gzip file")
    yield AwfulFile(
        "members.txt.gz", packed + gzip.compress(b"And a second part.", mtime=0), "two in one", holds="a second part"
    )
    yield AwfulFile("tail.txt.gz", packed + b"garbage", "something behind it", "not a whole gzip file")
    yield AwfulFile("twice.txt.gz", gzip.compress(packed, mtime=0), "compressed twice", "gzip")
    yield AwfulFile("empty.txt.gz", gzip.compress(b"", mtime=0), "nothing in it", "no text")
    yield AwfulFile(
        "bomb.txt.gz", gzip.compress(b"a" * (MAX_FILE_BYTES + 1), mtime=0), "a bomb", "larger than 16,777,216"
    )
    record = b'{"text": "' + b"a" * MAX_FILE_BYTES + b'"}'
    yield AwfulFile("bomb.jsonl.gz", gzip.compress(record, mtime=0), "a bomb in one record", "larger than 16,777,216")


def mended(file: AwfulFile) -> bytes:
    """What its author would put in the place of a file that was rejected."""
    text = f"{file.name} was mended."
    if ".json" in file.name:
        content = json.dumps({"text": text}).encode()
    elif ".csv" in file.name or ".tsv" in file.name:
        content = f"text\n{text}\n".encode()
    else:
        content = text.encode()
    if not file.name.endswith(".gz"):
        return content
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed:
        packed.write(content)
    return buffer.getvalue()
