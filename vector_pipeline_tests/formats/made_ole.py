"""Compound files made for the tests (MS-CFB), and what is written in them: messages of Outlook and Hangul documents."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

Tree = Mapping[str, "bytes | Tree"]
"""Streams and storages by name."""

SUMMARY = "\x05SummaryInformation"
"""The stream in which documents of Office state their title and author."""

TICKS = 134_117_966_450_000_000
"""2026-01-02T03:04:05Z as Windows counts: in units of 100 ns since 1601."""

_SECTOR, _MINI, _CUTOFF = 512, 64, 4_096
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_STORAGE, _STREAM, _ROOT = 1, 2, 5


@dataclass
class _Entry:
    name: str
    kind: int
    content: bytes = b""
    right: int = _FREE
    child: int = _FREE
    start: int = _END
    children: list[int] = field(default_factory=list)


def compound(tree: Tree) -> bytes:
    """A compound file of version 3 with these streams and storages."""
    entries = [_Entry("Root Entry", _ROOT)]
    _add(entries, 0, tree)
    small, mini_table = _chained([e for e in entries if e.kind == _STREAM and len(e.content) < _CUTOFF], _MINI)
    entries[0].content = small
    big, table = _chained([e for e in entries if e is entries[0] or len(e.content) >= _CUTOFF], _SECTOR)
    directory = _padded(b"".join(_directory_entry(entry) for entry in entries), _SECTOR)
    mini = _padded(b"".join(struct.pack("<I", number) for number in mini_table), _SECTOR, b"\xff")
    directory_start = len(table)
    mini_start = directory_start + len(directory) // _SECTOR
    table += _run(directory_start, len(directory) // _SECTOR) + _run(mini_start, len(mini) // _SECTOR)
    fat_count = 1
    while (len(table) + fat_count) * 4 > fat_count * _SECTOR:
        fat_count += 1
    fat_start = len(table)
    fat = _padded(struct.pack(f"<{len(table) + fat_count}I", *table, *[_FAT] * fat_count), _SECTOR, b"\xff")
    header = struct.pack(
        "<8s16s5H6x7IiII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6, 0, fat_count, directory_start, 0, _CUTOFF,
        mini_start if mini else _END, len(mini) // _SECTOR, -2, 0, fat_start,
    )  # fmt: skip
    more = struct.pack(f"<{fat_count - 1}I", *range(fat_start + 1, fat_start + fat_count))
    return (header + more).ljust(_SECTOR, b"\xff") + big + directory + mini + fat


def _add(entries: list[_Entry], parent: int, tree: Tree) -> None:
    numbers = []
    for name in sorted(tree, key=lambda name: (len(name), name.upper())):
        inside = tree[name]
        numbers.append(len(entries))
        entries.append(_Entry(name, _STREAM, inside) if isinstance(inside, bytes) else _Entry(name, _STORAGE))
        if not isinstance(inside, bytes):
            _add(entries, numbers[-1], inside)
    for number, following in itertools.pairwise(numbers):
        entries[number].right = following
    entries[parent].child = numbers[0] if numbers else _FREE


def _chained(entries: list[_Entry], size: int) -> tuple[bytes, list[int]]:
    """The contents one after another, and the table of their chains."""
    data, table = b"", list[int]()
    for entry in entries:
        if entry.content:
            entry.start = len(table)
            content = _padded(entry.content, size)
            table += _run(len(table), len(content) // size)
            data += content
    return data, table


def _run(start: int, count: int) -> list[int]:
    return [*range(start + 1, start + count), _END] if count else []


def _directory_entry(entry: _Entry) -> bytes:
    name = entry.name.encode("utf-16-le")
    return struct.pack(
        "<64sHBB3I16sI16xII4x",
        name, len(name) + 2, entry.kind, 1, _FREE, entry.right, entry.child, bytes(16), 0, entry.start,
        len(entry.content),
    )  # fmt: skip


def _padded(data: bytes, size: int, filler: bytes = b"\0") -> bytes:
    return data.ljust(-(-len(data) // size) * size, filler)


def msg(
    subject: str,
    body: str,
    *,
    attachments: Mapping[str, bytes | Tree] | None = None,
    code_page: int = 0,
    html: bytes = b"",
    inside: bool = False,
    language: int = 0,
) -> Tree:
    """A message of Outlook as the parts of its file. Its texts are Unicode, or in a code page if one is given.

    With a language it states that, and UTF-8 instead of its code page, as some programs do.
    """
    kind = "001E" if code_page else "001F"

    def text(value: str) -> bytes:
        return value.encode(f"cp{code_page}") if code_page else value.encode("utf-16-le")

    tree: dict[str, bytes | Tree] = {
        f"__substg1.0_0037{kind}": text(subject),
        f"__substg1.0_0C1A{kind}": text("A. Keeper"),
        f"__substg1.0_5D01{kind}": text("keeper@example.org"),
        f"__substg1.0_1000{kind}": text(body),
        "__recip_version1.0_#00000000": {
            f"__substg1.0_3001{kind}": text("Town"),
            f"__substg1.0_39FE{kind}": text("town@example.org"),
            "__properties_version1.0": bytes(8) + _fixed(0x0C150003, 1),
        },
    }
    if html:
        tree["__substg1.0_10130102"] = html
    for number, (name, content) in enumerate((attachments or {}).items()):
        held = "37010102" if isinstance(content, bytes) else "3701000D"
        tree[f"__attach_version1.0_#{number:08X}"] = {
            f"__substg1.0_3707{kind}": text(name),
            f"__substg1.0_{held}": content,
            "__properties_version1.0": bytes(8),
        }
    encoding = _fixed(0x3FDE0003, 65001) + _fixed(0x3FF10003, language) if language else _fixed(0x3FFD0003, code_page)
    fixed = _fixed(0x00390040, TICKS) + (encoding if code_page else b"")
    tree["__properties_version1.0"] = bytes(24 if inside else 32) + fixed
    return tree


def properties(title: str, author: str, *, code_page: int = 1200) -> bytes:
    """What a document states of itself, as the stream `SUMMARY` of Office or that of Hangul."""
    kind, encoding, width = (31, "utf-16-le", 2) if code_page == 1200 else (30, f"cp{code_page}", 1)
    values = {1: struct.pack("<IHxx", 2, code_page), 12: struct.pack("<IQ", 64, TICKS)}
    for number, text in ((2, title), (4, author)):
        data = f"{text}\0".encode(encoding)
        values[number] = struct.pack("<II", kind, len(data) // width) + _padded(data, 4)
    at, places = 8 + 8 * len(values), b""
    for number, value in values.items():
        places += struct.pack("<II", number, at)
        at += len(value)
    section = struct.pack("<II", at, len(values)) + places + b"".join(values.values())
    return struct.pack("<HHI16sI16sI", 0xFFFE, 0, 0, bytes(16), 1, bytes(16), 48) + section


def _fixed(tag: int, value: int) -> bytes:
    return struct.pack("<IIQ", tag, 6, value)


def hwp(paragraphs: list[str], *, title: str = "", author: str = "") -> bytes:
    """A document of Hangul 5.0 that is not compressed."""
    header = struct.pack("<32sII216x", b"HWP Document File", 0x05000300, 0)
    section = b""
    for text in paragraphs:
        letters = text.encode("utf-16-le") + b"\r\0"
        section += _record(66, 0, struct.pack("<IIHBBHHHI", len(letters) // 2, 0, 0, 0, 0, 1, 0, 1, 0))
        section += _record(67, 1, letters)
        section += _record(68, 1, struct.pack("<II", 0, 0))
    info = _record(16, 0, struct.pack("<7HIII", 1, 1, 1, 1, 1, 1, 1, 0, 0, 0)) + _record(17, 0, bytes(72))
    return compound(
        {
            "FileHeader": header,
            "DocInfo": info,
            "BodyText": {"Section0": section},
            "\x05HwpSummaryInformation": properties(title, author),
        }
    )


def _record(tag: int, level: int, data: bytes) -> bytes:
    return struct.pack("<I", tag | level << 10 | len(data) << 20) + data
