"""Documents of every kind, and files made from them by accidents that a seed chooses."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage

from .made import Picture, page_of, pdf, sentences
from .made_office import docx, hwpx, odp, odt, package, pptx, xlsx
from .made_ole import compound, hwp, msg

_TABLE = [["Place", "Euro"], ["Island", "12"], ["Town", "7"]]
_BLOCKS = ["# Ferries", "The ferry leaves at noon.", _TABLE]

_BOOK = {
    "mimetype": "application/epub+zip",
    "META-INF/container.xml": '<container><rootfiles><rootfile full-path="book.opf"/></rootfiles></container>',
    "book.opf": (
        '<package><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    ),
    "a.xhtml": "<html><body><h1>Ferries</h1><p>The ferry leaves at noon.</p></body></html>",
}


def seeds() -> dict[str, bytes]:
    """A sound file of each kind that can be made, by a name of its kind."""
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "Ferries", "A. Keeper <keeper@example.org>"
    mail.set_content("The ferry leaves at noon.")
    mail.add_attachment(docx(_BLOCKS), maintype="application", subtype="octet-stream", filename="a.docx")
    notebook = {
        "cells": [{"cell_type": "markdown", "source": "# Ferries"}, {"cell_type": "code", "source": "fare = 12"}]
    }
    return {
        "a.pdf": pdf([page_of(["# Ferries", sentences(n)]) for n in range(3)] + [[Picture()]], title="Ferries"),
        "a.docx": docx(_BLOCKS),
        "a.pptx": pptx([("Ferries", "The ferry leaves."), ("Fares", "12 Euro")]),
        "a.xlsx": xlsx({"Fares": _TABLE}),
        "a.odt": odt("<text:h>Ferries</text:h><text:p>The ferry leaves at noon.</text:p>"),
        "a.odp": odp(["Ferries", "Fares"]),
        "a.hwpx": hwpx(["# 도선 안내", "배는 정오에 떠난다.", [["곳", "원"], ["섬", "12"]]]),
        "a.rtf": rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 The ferry \b leaves\b0  at noon.\par}",
        "a.eml": mail.as_bytes(),
        "a.mbox": b"From a Fri Jan  2 03:04:05 2026\n" + mail.as_bytes(),
        "a.msg": compound(msg("Ferries", "The ferry leaves.", attachments={"a.docx": docx(_BLOCKS), "b.txt": b"12"})),
        "a.hwp": hwp(["배는 정오에 떠난다.", "섬까지 12 유로"], title="도선 안내"),
        "a.epub": package(_BOOK),
        "a.ipynb": json.dumps(notebook).encode(),
        "a.zip": package({"a.md": "# Ferries", "b/a.docx": docx(_BLOCKS)}),
    }


def mutated(files: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many damaged files with their names; the same for the same seed."""
    chance = random.Random(seed)
    names = sorted(files)
    for _ in range(count):
        name = chance.choice(names)
        data = files[name]
        if data.startswith(b"PK") and chance.random() < 0.6:
            yield name, _inside(data, chance)
        else:
            yield name, _damaged(data, chance, files)


def _damaged(data: bytes, chance: random.Random, files: dict[str, bytes]) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20, 100))):
        if not damaged:
            break
        at = chance.randrange(len(damaged))
        length = chance.choice((1, 2, 4, 16, 200))
        deed = chance.randrange(7)
        if deed == 0:
            damaged[at] = chance.randrange(256)
        elif deed == 1:
            del damaged[at : at + length]
        elif deed == 2:
            damaged[at:at] = chance.randbytes(length)
        elif deed == 3:
            damaged[at : at + length] = damaged[at : at + length] * chance.choice((2, 3, 50))
        elif deed == 4:
            damaged[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"9999"))
        elif deed == 5:
            other = chance.choice(sorted(files.values()))
            start = chance.randrange(len(other) + 1)
            damaged[at:at] = other[start : start + length]
        elif chance.random() < 0.3:
            del damaged[at:]
    return bytes(damaged)


def _inside(data: bytes, chance: random.Random) -> bytes:
    """An archive of which one member is damaged, and the archive itself is sound."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(parts))
    parts[name] = _damaged(parts[name], chance, parts)
    if chance.random() < 0.1:
        parts.pop(chance.choice(sorted(parts)))
    return package(parts)
