from __future__ import annotations

import base64
import json
from email.message import EmailMessage

import pytest

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.readers.base import ReaderOptions

from .made import Picture, page_of, pdf
from .made_office import docx, package
from .made_ole import Tree, compound, msg
from .reading import read


def message(
    subject: str = "Ferry fares", *, attachments: dict[str, bytes] | None = None, html: str = ""
) -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = subject
    made["From"] = "A. Keeper <keeper@example.org>"
    made["To"] = "Town <town@example.org>"
    made["Date"] = "Fri, 02 Jan 2026 03:04:05 +0900"
    made["Message-ID"] = f"<{abs(hash(subject))}@example.org>"
    if html:
        made.set_content(html, subtype="html")
    else:
        made.set_content("The ferry costs twelve Euro.\n한국어도 된다.\n")
    for name, content in (attachments or {}).items():
        made.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return made


def test_a_message_is_a_document_and_its_attachments_are_others() -> None:
    files = {"fares.docx": docx(["# Fares", "Island: 12"]), "logo.png": b"\x89PNG", "송장.txt": "합계 12 유로".encode()}
    mail, fares, invoice = read(message(attachments=files).as_bytes(), "a.eml")
    assert mail.text == (
        '# Ferry fares\n\nFrom: "A. Keeper" <keeper@example.org>\nTo: Town <town@example.org>\n'
        "Date: 2026-01-02T03:04:05+09:00\n\nThe ferry costs twelve Euro.\n한국어도 된다."
    )
    assert (mail.record, mail.metadata["attachments"]) == ("", ["fares.docx", "logo.png", "송장.txt"])
    assert (fares.record, fares.text) == ("fares.docx", "# Fares\n\nIsland: 12")
    assert (invoice.record, invoice.metadata["message"]) == ("송장.txt", "Ferry fares")


def test_a_page_as_message_is_read_as_a_page_and_old_encodings_as_they_are_declared() -> None:
    (mail,) = read(message(html="<h1>Fares</h1><p>a<br>b</p>").as_bytes(), "a.eml")
    assert mail.text.endswith("# Fares\n\na\nb")
    korean = b"Subject: =?euc-kr?B?v+7A0w==?=\nContent-Type: text/plain; charset=euc-kr\n\n" + "배가 떠난다".encode(
        "cp949"
    )
    (mail,) = read(korean, "a.eml")
    assert mail.text == "# 운임\n\n배가 떠난다"


@pytest.mark.parametrize("kind", ["plain", "html"])
@pytest.mark.parametrize(
    ("label", "encoding", "text"),
    [
        ("windows-949", "cp949", "그"),
        ("ks_c_5601-1987", "cp949", "그"),
        ("windows-1255", "cp1255", "מזג"),
        ("iso-8859-8-i", "iso8859_8", "מזג"),
        ("iso-2022-kr", "iso2022_kr", "한국"),
        ("'Big5'", "big5", "斜"),
        ("HZ-GB-2312", "hz", "渡船七点开。"),
        ("utf-7", "utf_7", "배가 떠난다"),
    ],
)
def test_a_part_of_a_message_is_read_as_it_is_declared(label: str, encoding: str, text: str, kind: str) -> None:
    head = f'Subject: S\nContent-Type: text/{kind}; charset="{label}"\nContent-Transfer-Encoding: base64\n\n'
    (mail,) = read(head.encode() + base64.encodebytes(text.encode(encoding)), "a.eml")
    assert mail.text == f"# S\n\n{text}"


@pytest.mark.parametrize(
    "label", ["x-unknown", "base64", "zip", "unicode_escape", "hex", "undefined", "utf-16", "us-ascii"]
)
def test_a_part_whose_label_names_no_encoding_of_text_is_read_by_its_bytes(label: str) -> None:
    def mail(body: bytes) -> bytes:
        return f"Subject: S\nContent-Type: text/plain; charset={label}\n\n".encode() + body

    korean = "배는 아침 일곱 시에 떠납니다. 표는 선착장에서 살 수 있습니다."
    for text, encoding in ((korean, "utf-8"), (korean, "cp949"), ("\\u0041 = 4", "ascii")):
        assert read(mail(text.encode(encoding)), "a.eml")[0].text == f"# S\n\n{text}"
    with pytest.raises(FileRejected, match="cannot be detected"):
        read(mail(b"\xb1\xd7"), "a.eml")


def test_a_message_in_parts_without_their_boundary_keeps_its_text() -> None:
    for boundary in ("", "; boundary=x"):
        (mail,) = read(
            f"Subject: S\nContent-Type: multipart/mixed{boundary}\n\nThe ferry costs twelve.".encode(), "a.eml"
        )
        assert mail.text == "# S\n\nThe ferry costs twelve."


def test_an_attachment_that_cannot_be_read_is_noted_with_its_message() -> None:
    (mail,) = read(message(attachments={"scan.pdf": pdf([[Picture()]])}).as_bytes(), "a.eml")
    (reason,) = mail.metadata["attachments_not_read"]
    assert reason.startswith("scan.pdf has no text on its page")


def test_messages_of_a_mailbox_are_called_by_their_id_and_from_lines_inside_begin_none() -> None:
    first, second = message("One"), message("Two", attachments={"a.txt": b"attached"})
    first.set_content("A line\n>From the island\nmore\n")
    box = b"".join(b"From keeper Fri Jan  2 03:04:05 2026\n" + m.as_bytes() + b"\n\n" for m in (first, second))
    one, two, attached = read(box, "a.mbox")
    assert one.record == first["Message-ID"].strip("<>")
    assert "From the island" in one.text
    assert two.text.startswith("# Two")
    assert attached.record == two.record + "/a.txt"
    with pytest.raises(FileRejected, match="not a mailbox"):
        read(b"nothing here", "a.mbox")


def test_a_part_of_a_message_that_cannot_be_decoded_does_not_stop_the_others() -> None:
    head = b"Subject: Fares\nContent-Type: multipart/mixed; boundary=x\n\n"
    good = b"--x\nContent-Type: text/plain\n\nThe ferry leaves at noon.\n"
    bad = b"--x\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\ngYHx/w==\n"
    (mail,) = read(head + bad + good + b"--x--\n", "a.eml")
    assert mail.text == "# Fares\n\nThe ferry leaves at noon."
    assert mail.metadata["attachments_not_read"][0].startswith("a part of the text line 1 (byte 0x81) is not UTF-8")
    with pytest.raises(FileRejected, match="cannot be detected; save it again as UTF-8 in a mail program"):
        read(head + bad + b"--x--\n", "a.eml")


def test_members_of_an_archive_are_documents_called_by_their_paths() -> None:
    notion = "0123456789abcdef0123456789abcdef"
    data = package(
        {
            f"Home {notion}.md": f"# Home\n\n[Fares](Home%20{notion}/Fares%20{notion}.md)",
            f"Home {notion}/Fares {notion}.md": "# Fares\n\n12 Euro",
            "picture.png": b"\x89PNG",
            "__MACOSX/._x.md": "hidden",
            "code.py": "print(1)",
            "broken.pdf": b"%PDF-1.7",
            "inner.zip": package({"deep.txt": "deep down"}),
        }
    )
    documents = {document.record: document for document in read(data, "a.zip")}
    assert list(documents) == ["Home.md", "Home/Fares.md", "inner.zip#deep.txt"]
    assert documents["Home.md"].text == "# Home\n\n[Fares](Home/Fares.md)"
    noted = next(iter(documents.values())).metadata
    assert noted["files_not_read_count"] == 1
    assert noted["files_not_read"][0].startswith("broken.pdf is not a whole PDF document")


@pytest.mark.parametrize("encoding", ["cp949", "utf-8"])
def test_names_of_members_are_legible_whatever_program_wrote_them(encoding: str) -> None:
    names = [f"문서/{name}.txt" for name in ("운임 안내", "여객선 시간표", "섬으로 가는 길")]
    stand_ins = {str(n).ljust(len(name.encode(encoding)), "x"): name for n, name in enumerate(names)}
    data = package(dict.fromkeys(stand_ins, "12 Euro"))
    for stand_in, name in stand_ins.items():
        data = data.replace(stand_in.encode(), name.encode(encoding))
    assert sorted(document.record for document in read(data, "a.zip")) == sorted(names)


def test_archives_in_archives_and_bombs_end_somewhere() -> None:
    data = package({"deep.txt": "deep down"})
    for _ in range(8):
        data = package({"inner.zip": data})
    with pytest.raises(FileRejected, match=r"the first of them: (?:inner\.zip/){4}inner\.zip lies in more than 4"):
        read(data, "a.zip")
    with pytest.raises(FileRejected, match="uncompresses to 4,000,000 bytes"):
        read(package({"a.txt": b"a" * 4_000_000}), "a.zip", ReaderOptions(max_bytes=100_000))
    with pytest.raises(FileRejected, match="not a whole ZIP file"):
        read(package({"a.txt": "a"})[:-30], "a.zip")


def test_a_book_is_read_in_its_order_and_a_locked_one_is_not() -> None:
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": (
            '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>Ferries</dc:title>'
            "<dc:creator>A. Keeper</dc:creator><dc:language>ko</dc:language></metadata><manifest>"
            '<item id="b" href="b.xhtml" media-type="application/xhtml+xml"/>'
            '<item id="a" href="text/a%20b.xhtml" media-type="application/xhtml+xml"/></manifest>'
            '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
        ),
        "OPS/b.xhtml": "<html><body><h1>Two</h1><p>second</p></body></html>",
        "OPS/text/a b.xhtml": "<html><body><h1>One</h1><p>first</p></body></html>",
    }
    (book,) = read(package(parts), "a.epub")
    assert book.text == "# One\n\nfirst\n\n# Two\n\nsecond"
    assert dict(book.metadata) == {"title": "Ferries", "author": "A. Keeper", "language": "ko"}
    empty = (
        "<html><head><title/><script src='a>b.js'/></head><body><h1/><p id='p>1'/><pre/><p>One<a id='x'/> page<br/>more"
    )
    (book,) = read(package({**parts, "OPS/b.xhtml": f"{empty}</p></body></html>"}), "a.epub")
    assert book.text == "# One\n\nfirst\n\nOne page\nmore"
    locked = {**parts, "META-INF/encryption.xml": '<x><EncryptionMethod Algorithm="aes"/></x>'}
    with pytest.raises(FileRejected, match="is locked"):
        read(package(locked), "a.epub")


def test_cells_of_a_notebook_come_in_order_and_are_places() -> None:
    notebook = {
        "metadata": {"kernelspec": {"language": "python"}},
        "cells": [
            {"cell_type": "markdown", "source": ["# Fares\n", "in Euro"]},
            {"cell_type": "code", "source": "fare = 12", "outputs": [{"text": "x" * 1_000}]},
            {"cell_type": "code", "source": []},
            {"cell_type": "markdown", "source": "The end."},
        ],
    }
    (document,) = read(json.dumps(notebook).encode(), "a.ipynb")
    assert document.text == "# Fares\nin Euro\n\n```python\nfare = 12\n```\n\nThe end."
    assert [number for _, number in document.places["cells"]] == [1, 2, 4]
    for bad, reason in ((b"{", "not JSON"), (b"[]", "not a notebook"), (b"{}", "has no cells")):
        with pytest.raises(FileRejected, match=reason):
            read(bad, "a.ipynb")


def test_a_document_is_read_the_same_inside_a_message_and_alone() -> None:
    data = pdf([page_of(["# Ferries", "The ferry leaves at noon."])])
    _, inside = read(message(attachments={"a.pdf": data}).as_bytes(), "a.eml")
    (alone,) = read(data, "a.pdf")
    assert (inside.text, inside.places) == (alone.text, alone.places)


def _box(*messages: EmailMessage | bytes) -> bytes:
    parts = [m if isinstance(m, bytes) else m.as_bytes() for m in messages]
    return b"".join(b"From keeper Fri Jan  2 03:04:05 2026\n" + part + b"\n\n" for part in parts)


def test_a_message_of_unknown_encoding_is_noted_and_the_others_are_read() -> None:
    broken = b"Subject: Bad\nContent-Type: text/plain; charset=utf-8\n\n\x80\x81\xfe\xff\x80 bad \x81\x82\n"
    one, two = read(_box(message("One"), broken, message("Two")), "a.mbox")
    assert (one.metadata["title"], two.metadata["title"]) == ("One", "Two")
    (reason,) = one.metadata["messages_not_read"]
    assert reason.startswith("message 2 ")
    with pytest.raises(FileRejected, match="holds no message that can be read; the first of them: message 1"):
        read(_box(broken), "a.mbox")


def test_attachments_are_called_by_their_own_message_and_reasons_stand_with_theirs() -> None:
    scans = {f"{number}.pdf": pdf([[Picture()]]) for number in range(25)}
    box = _box(message("One", attachments={"a.txt": b"one", **scans}), message("Two", attachments={"a.txt": b"two"}))
    one, _, two, inside = read(box, "a.mbox")
    assert (len(one.metadata["attachments_not_read"]), one.metadata["attachments_not_read_count"]) == (20, 25)
    assert (inside.record, inside.text) == (f"{two.record}/a.txt", "two")
    assert "attachments_not_read" not in two.metadata


def test_a_page_beside_plain_text_is_read_unless_it_is_the_same_message() -> None:
    both = message()
    both.add_alternative("<p>The same as a page.</p>", subtype="html")
    assert "as a page" not in read(both.as_bytes(), "a.eml")[0].text
    parts = (("plain", "Text of the list."), ("html", "<p>The message itself.</p>"))
    mixed = "".join(f"--x\nContent-Type: text/{kind}\n\n{text}\n" for kind, text in parts)
    data = f'Subject: Two parts\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="x"\n\n{mixed}--x--\n'
    assert read(data.encode(), "a.eml")[0].text == "# Two parts\n\nText of the list.\n\nThe message itself."


def test_parts_without_a_boundary_are_read_as_text() -> None:
    data = b'Subject: Broken\nContent-Type: multipart/mixed; boundary="x"\n\nThe text without any boundary.\n'
    assert read(data, "a.eml")[0].text == "# Broken\n\nThe text without any boundary."


def test_databases_of_notion_are_read_as_their_pages_and_not_as_tables() -> None:
    notion = "0123456789abcdef0123456789abcdef"
    data = package(
        {
            f"Tasks {notion}.csv": "Name,Status\nPaint,Done\n",
            f"Tasks {notion}_all.csv": "Name,Status\nPaint,Done\n",
            f"Tasks/Paint {notion}.md": "# Paint\n\nStatus: Done",
            "prices.csv": "text\nIsland 12\n",
        }
    )
    documents = read(data, "a.zip")
    assert [document.record for document in documents] == ["Tasks/Paint.md", "prices.csv#1"]
    assert "files_not_read" not in documents[0].metadata


def test_a_message_of_outlook_is_read_like_other_mail_with_its_attachments() -> None:
    forwarded = msg("Forwarded", "The text inside.", attachments={"b.txt": b"deep " * 1_000}, inside=True)
    files: Tree = {"fares.docx": docx(["# Fares", "Island: 12"]), "scan.pdf": pdf([[Picture()]]), "old": forwarded}
    mail, fares, old, deep = read(compound(msg("Ferry fares", "The ferry costs 12 Euro.", attachments=files)), "a.msg")
    assert mail.text == (
        "# Ferry fares\n\nFrom: A. Keeper <keeper@example.org>\nTo: Town <town@example.org>\n"
        "Date: 2026-01-02T03:04:05+00:00\n\nThe ferry costs 12 Euro."
    )
    assert mail.metadata["attachments"] == ["fares.docx", "scan.pdf", "old"]
    assert mail.metadata["attachments_not_read"][0].startswith("scan.pdf has no text on its page")
    assert (fares.record, fares.text, fares.metadata["message"]) == (
        "fares.docx",
        "# Fares\n\nIsland: 12",
        "Ferry fares",
    )
    assert (old.record, old.metadata["title"], old.metadata["from"]) == (
        "old",
        "Forwarded",
        "A. Keeper <keeper@example.org>",
    )
    assert (deep.record, deep.metadata["message"]) == ("old/b.txt", "Forwarded")


def test_a_message_of_outlook_is_one_whatever_is_attached_to_it() -> None:
    files = {
        "old.doc": compound({"WordDocument": bytes(600)}),
        "locked.docx": compound({"EncryptedPackage": bytes(600)}),
    }
    (mail,) = read(compound(msg("Fares", "12 Euro", attachments=files)), "a.msg")
    assert mail.text.startswith("# Fares")
    assert len(mail.metadata["attachments_not_read"]) == 2


@pytest.mark.parametrize("code_page", [949, 65001])
def test_a_message_of_outlook_is_decoded_as_its_code_page_says(code_page: int) -> None:
    files = {"운임.txt": b"12 Euro"}
    mail, fares = read(
        compound(msg("운임 안내", "배는 정오에 떠난다.", code_page=code_page, attachments=files)), "a.msg"
    )
    assert mail.metadata["title"] == "운임 안내"
    assert mail.text.endswith("배는 정오에 떠난다.")
    assert fares.record == "운임.txt"


@pytest.mark.parametrize(
    ("language", "code_page", "text"),
    [
        (0x0412, 949, "운임"),
        (0x0407, 1252, "Fähre"),
        (0x0419, 1251, "Паром"),
        (0x0404, 950, "渡輪"),
        (0x0804, 936, "渡轮"),
    ],
)
def test_a_message_of_outlook_that_states_a_wrong_code_page_is_decoded_by_its_language(
    language: int, code_page: int, text: str
) -> None:
    (mail,) = read(compound(msg(text, text, code_page=code_page, language=language)), "a.msg")
    assert mail.metadata["title"] == text
    assert mail.text.endswith(f"\n\n{text}")


def test_a_message_of_outlook_in_an_unknown_encoding_is_rejected_with_what_to_do() -> None:
    with pytest.raises(FileRejected, match="of the code page that it states; save it again as a Unicode message"):
        read(compound(msg("Ѓ", "Ѓ", code_page=1251, language=0x0407)), "a.msg")


def test_a_message_of_outlook_that_is_a_page_is_read_as_one_and_a_damaged_one_is_rejected() -> None:
    (mail,) = read(compound(msg("Fares", "", html=b"<h2>Fares</h2><p>12 Euro</p>")), "a.msg")
    assert mail.text.endswith("## Fares\n\n12 Euro")
    with pytest.raises(FileRejected, match="is damaged"):
        read(compound(msg("Fares", "text"))[:700], "a.msg")
