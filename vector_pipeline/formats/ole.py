"""What documents in compound files (DOC, PPT, XLS, HWP) state of themselves: their property sets (MS-OLEPS)."""

from __future__ import annotations

import datetime
import struct
from typing import Any

from dochan.cfb import OleFileIO
from dochan.office_binary.summary_info import CODEPAGE_CODECS

# Those of Office and of Hangul have the same properties.
_STREAMS = ("\x05SummaryInformation", "\x05HwpSummaryInformation")
_CODE_PAGE, _TITLE, _AUTHOR, _CREATED, _MODIFIED = 1, 2, 4, 12, 13
_NAMES = {_TITLE: "title", _AUTHOR: "author", _CREATED: "created", _MODIFIED: "modified"}
_ANSI, _UNICODE, _FILE_TIME = 30, 31, 64
_EPOCH = datetime.datetime(1601, 1, 1, tzinfo=datetime.UTC)

# Languages by the code page of Windows for them; those of all others are written in 1252.
_PRIMARY, _CHINESE, _TRADITIONAL = 0x3FF, 0x04, (0x0404, 0x0C04, 0x1404)
_LANGUAGES = {
    874: (0x1E,),
    932: (0x11,),
    949: (0x12,),
    1250: (0x05, 0x0E, 0x15, 0x18, 0x1A, 0x1B, 0x1C, 0x24),
    1251: (0x02, 0x19, 0x22, 0x23, 0x2F, 0x3F, 0x40, 0x50),
    1253: (0x08,),
    1254: (0x1F, 0x2C),
    1255: (0x0D,),
    1256: (0x01, 0x20, 0x29),
    1257: (0x25, 0x26, 0x27),
    1258: (0x2A,),
}

_MAX_BYTES = 1024 * 1024
_MAX_CHARACTERS = 4_096


def ole_properties(data: bytes) -> dict[str, Any]:
    """The title, author and dates (ISO 8601, UTC) that a document states; empty if they cannot be read."""
    try:
        with OleFileIO(data) as container:
            for name in _STREAMS:
                if container.exists(name) and container.get_size(name) <= _MAX_BYTES:
                    return _stated(container.openstream(name).read())
    except (OSError, struct.error, ValueError, LookupError):
        # A damaged property set must not stop the text.
        return {}
    return {}


def _stated(data: bytes) -> dict[str, Any]:
    (section,) = struct.unpack_from("<I", data, 44)
    (count,) = struct.unpack_from("<I", data, section + 4)
    places = dict(struct.iter_unpack("<II", data[section + 8 : section + 8 + 8 * min(count, 1_000)]))
    page = struct.unpack_from("<H", data, section + places[_CODE_PAGE] + 4)[0] if _CODE_PAGE in places else 1252
    encoding = encoding_of(page)
    found = {}
    for number, name in _NAMES.items():
        if number in places and (value := _value(data, section + places[number], encoding)):
            found[name] = value
    return found


def _value(data: bytes, at: int, encoding: str) -> str:
    kind, length = struct.unpack_from("<II", data, at)
    if kind == _FILE_TIME:
        return file_time(struct.unpack_from("<Q", data, at + 4)[0])
    if kind not in (_ANSI, _UNICODE) or length > _MAX_CHARACTERS:
        return ""
    text = data[at + 8 : at + 8 + length * (2 if kind == _UNICODE else 1)]
    try:
        return text.decode("utf-16-le" if kind == _UNICODE else encoding).partition("\0")[0].strip()
    except (LookupError, ValueError):
        # In another encoding than its code page: it is left out and not shown with wrong letters.
        return ""


def encoding_of(code_page: int) -> str:
    """The name in Python of a code page of Windows; that of none if it is unknown."""
    if 28591 <= code_page <= 28599:
        return f"iso8859_{code_page - 28590}"
    return str(CODEPAGE_CODECS.get(code_page, f"cp{code_page}"))


def encoding_of_language(language: int) -> str:
    """The name in Python of the code page of Windows for a language (MS-LCID)."""
    if language & _PRIMARY == _CHINESE:
        return "cp950" if language in _TRADITIONAL else "cp936"
    return next((f"cp{page}" for page, languages in _LANGUAGES.items() if language & _PRIMARY in languages), "cp1252")


def file_time(ticks: int) -> str:
    """A time of Windows, in units of 100 ns since 1601, in ISO 8601 and UTC; empty if there is none."""
    try:
        return (_EPOCH + datetime.timedelta(microseconds=ticks // 10)).isoformat(timespec="seconds") if ticks else ""
    except OverflowError:
        return ""
