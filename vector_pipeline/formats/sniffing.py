"""Find the kind of a file from its first bytes and inner names, independent of its own name."""

from __future__ import annotations

import struct
import zipfile
from typing import BinaryIO

import regex

_HTML = regex.compile(
    rb"(?i)\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b"
)

ZIP_MARK = b"PK\x03\x04"

# The names of streams in an OLE file are UTF-16 in its directory.
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_STREAMS = (
    ("EncryptedPackage", "encrypted"),
    ("WordDocument", "doc"),
    ("PowerPoint Document", "ppt"),
    ("HwpSummaryInformation", "hwp"),
    ("__properties_version1.0", "msg"),
    ("Workbook", "xls"),
    ("Book", "xls"),
)
_MIME_TYPES = {
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/hwp+zip": "hwpx",
    "application/epub+zip": "epub",
}
_OFFICE = (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"), ("contents/section", "hwpx"))


def sniffed(stream: BinaryIO) -> str:
    """The name of a file's kind; `encrypted` for an Office document with a password; empty if it is unknown.

    The stream is at its beginning before and after.
    """
    head = stream.read(4_096)
    stream.seek(0)
    if b"%PDF-" in head[:1_024]:
        return "pdf"
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if head.startswith(_OLE):
        return _ole(stream)
    if head.startswith(ZIP_MARK):
        return _zip(stream)
    if head.startswith(b"HWP Document File V3"):
        return "hwp"
    return "html" if _HTML.match(head) else ""


def _ole(stream: BinaryIO) -> str:
    data = stream.read()
    stream.seek(0)
    names = _root_names(data)
    for name, kind in _STREAMS:
        if name in names if names is not None else (name + "\0").encode("utf-16-le") in data:
            return kind
    return ""


def _root_names(data: bytes) -> set[str] | None:
    """The names at the root of an OLE file; None if they cannot be read. Files inside it have names of their own."""
    try:
        from dochan.cfb import OleFileIO

        with OleFileIO(data) as container:
            return {path[0] for path in container.listdir(streams=True, storages=True)}
    except (ImportError, OSError, ValueError, LookupError, struct.error):
        return None


def _zip(stream: BinaryIO) -> str:
    try:
        with zipfile.ZipFile(stream) as archive:
            # Some programs write other letters (`[content_types].xml`) and other slashes (`xl\\workbook.xml`).
            names = {name.replace("\\", "/").lower() for name in archive.namelist()}
            if "mimetype" in archive.NameToInfo and archive.getinfo("mimetype").file_size < 200:
                stated = archive.read("mimetype").decode("ascii", "ignore").strip()
                if stated in _MIME_TYPES:
                    return _MIME_TYPES[stated]
            if "[content_types].xml" in names or "contents/content.hpf" in names:
                return next((kind for start, kind in _OFFICE if any(name.startswith(start) for name in names)), "")
            return "zip"
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, ValueError, EOFError):
        return ""
    finally:
        stream.seek(0)
