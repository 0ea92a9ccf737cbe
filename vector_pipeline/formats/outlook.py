"""Messages of Outlook (.msg): their properties from the container (MS-OXMSG), texts in RTF alone by kreuzberg.

kreuzberg decodes all texts that are not Unicode as Latin-1, and reads attachments by itself, without a reason for those
that it cannot read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import regex
from dochan.cfb import CFBError, OleFileIO

from vector_pipeline.errors import FileRejected, one_line
from vector_pipeline.formats.inner import InnerFiles, with_reasons
from vector_pipeline.formats.mail import beside, text_of
from vector_pipeline.formats.markdown import plainer
from vector_pipeline.formats.office import extracted
from vector_pipeline.formats.ole import encoding_of, encoding_of_language, file_time
from vector_pipeline.formats.output import document
from vector_pipeline.formats.packages import PASSWORD
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.markup import page_document

# Properties (MS-OXPROPS): four hexadecimal digits of the name of a stream, before those of its type.
_SUBJECT, _BODY, _HTML, _MESSAGE_ID, _CLASS = "0037", "1000", "1013", "1035", "001A"
_SENDER_NAME, _SENDER_ADDRESSES = "0C1A", ("5D01", "5D02", "0C1F")
_NAME, _ADDRESSES = "3001", ("39FE", "3003")
_RECIPIENT_TYPE, _SUBMITTED, _DELIVERED, _CODE_PAGE, _INTERNET_CODE_PAGE = 0x0C15, 0x0039, 0x0E06, 0x3FFD, 0x3FDE
_LOCALE = 0x3FF1
_FILE_NAMES, _CONTENT = ("3707", "3704", "3001"), "3701"
_UNICODE, _ANSI, _BINARY, _OBJECT = "001F", "001E", "0102", "000D"

_OTHER_ENCODING = "holds letters that are not of the code page that it states; save it again as a Unicode message"

# The head that kreuzberg writes above a message. `text_of` writes it from the metadata.
_HEAD = regex.compile(r"\A(?:\s*\W*(?:Subject|From|To|Cc|CC|Bcc|BCC|Date)\W*: [^\n]*(?:\n|\Z))+")

_RECIPIENT_TYPES = {1: "to", 2: "cc"}
_MAX_ADDRESSES = 2_000
_MAX_ATTACHMENTS = 2_000
_MAX_DEPTH = 4


def read_msg(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A message as one document, and its attachments as others. Raises FileRejected."""
    data = stream.read()
    inner = InnerFiles(options, options.depth)
    try:
        with OleFileIO(data) as container:
            storages = ["/".join(path) for path in container.listdir(streams=True, storages=True)]
            message = _Storage(container, "", storages)
            if message.text(_CLASS).lower().startswith("ipm.note.smime") and not message.text(_BODY):
                raise FileRejected(PASSWORD)
            yield from _documents(message, "", inner, data)
    except (CFBError, struct.error) as error:
        raise FileRejected(f"is damaged ({one_line(error)[:120]}); save it again") from error


class _Storage:
    """A part of a container with properties: a message, a recipient or an attachment."""

    def __init__(self, container: OleFileIO, path: str, storages: list[str], outer: _Storage | None = None) -> None:
        self._container = container
        self._outer = outer
        self._path = path
        self._all = storages
        self._names = {name.upper(): name for name in storages if name.upper().startswith(path.upper())}
        self._fixed = self._fixed_properties()

    def stream(self, name: str, kind: str) -> bytes | None:
        """A property of variable length; None if it is not stated."""
        found = self._names.get(f"{self._path}__substg1.0_{name}{kind}".upper())
        return self._container.openstream(found.split("/")).read() if found is not None else None

    def text(self, *names: str) -> str:
        """The first of some properties that is stated, as text. Raises FileRejected if it cannot be decoded."""
        for name in names:
            if unicode := self.stream(name, _UNICODE):
                return unicode.decode("utf-16-le", "replace").rstrip("\0")
            if data := self.stream(name, _ANSI):
                return self._decoded(data.rstrip(b"\0"))
        return ""

    def _decoded(self, data: bytes) -> str:
        try:
            return decode(data, declared=self.encoding).text
        except FileRejected as rejection:
            try:
                return data.decode(self.locale_encoding)
            except (LookupError, UnicodeDecodeError):
                raise FileRejected(_OTHER_ENCODING) from rejection

    @property
    def encoding(self) -> str:
        """The encoding of texts that are not Unicode; empty if none is stated."""
        page = self.number(_CODE_PAGE) or self.number(_INTERNET_CODE_PAGE)
        if not page and self._outer is not None:
            return self._outer.encoding
        return encoding_of(page) if page else ""

    @property
    def locale_encoding(self) -> str:
        """The encoding of Windows for the language of the sender; empty if none is stated."""
        language = self.number(_LOCALE)
        if not language and self._outer is not None:
            return self._outer.locale_encoding
        return encoding_of_language(language) if language else ""

    def number(self, name: int) -> int:
        """A number; 0 if it is not stated."""
        return struct.unpack_from("<I", self._fixed.get(name, b"\0\0\0\0"))[0]  # type: ignore[no-any-return]

    def date(self, *names: int) -> str:
        """The first of some dates that is stated, in ISO 8601 and UTC; empty if there is none."""
        for name in names:
            ticks = struct.unpack("<Q", self._fixed.get(name, bytes(8)))[0]
            if found := file_time(ticks):
                return found
        return ""

    def parts(self, start: str) -> Iterator[_Storage]:
        """Yield the storages inside whose name begins like this, in order."""
        begin = f"{self._path}{start}".upper()
        for name in sorted(found for upper, found in self._names.items() if upper.startswith(begin)):
            if "/" not in name[len(self._path) :]:
                yield _Storage(self._container, f"{name}/", self._all, self)

    def inside(self) -> _Storage | None:
        """The message that an attachment is; None if it is a file."""
        path = f"{self._path}__substg1.0_{_CONTENT}{_OBJECT}"
        name = self._names.get(path.upper())
        return _Storage(self._container, f"{name}/", self._all, self) if name is not None else None

    def _fixed_properties(self) -> dict[int, bytes]:
        """The eight bytes of each property of fixed length, by its name."""
        name = self._names.get(f"{self._path}__properties_version1.0".upper())
        if name is None:
            return {}
        data = self._container.openstream(name.split("/")).read()
        # A message has a head of 32 bytes, one inside another 24, others 8; entries have 16. So an entry may be cut off.
        head = 8 if "#" in self._path.rstrip("/").rpartition("/")[2] else 24 if self._path else 32
        entries = (data[at : at + 16] for at in range(head, len(data) - 15, 16))
        return {struct.unpack_from("<H", entry, 2)[0]: entry[8:16] for entry in entries}


def _documents(
    message: _Storage, name: str, inner: InnerFiles, data: bytes | None, depth: int = 0
) -> Iterator[Document]:
    """Yield a message with the name of its document, and its attachments. `data` is the file, if it is the message."""
    metadata = _stated(message)
    found: list[Document] = []
    titles: list[str] = []
    for attachment in message.parts("__attach_version1.0_#"):
        if len(titles) >= _MAX_ATTACHMENTS:
            raise FileRejected(f"has more than {_MAX_ATTACHMENTS:,} attachments; split it, or remove it from the source")
        title = " ".join(attachment.text(*_FILE_NAMES).replace("\\", "/").rpartition("/")[2].split())[:200]
        inside = attachment.inside()
        titles.append(title or "attachment")
        folder = f"{name}/" if name else ""
        if inside is not None and depth < _MAX_DEPTH:
            record = inner.distinct(f"{folder}{title or 'forwarded message'}")
            found += [
                replace(d, metadata=beside(d, metadata))
                for d in _documents(inside, record, inner.beside(), None, depth + 1)
            ]
        elif (content := attachment.stream(_CONTENT, _BINARY)) is not None:
            found += [replace(d, metadata=beside(d, metadata)) for d in inner.documents(title, content, folder)]
    if titles:
        metadata["attachments"] = titles
    own = document(text_of(metadata, _body(message, data)), metadata, record=name)
    yield with_reasons(own, "attachments_not_read", inner.take_reasons())
    yield from found


def _stated(message: _Storage) -> dict[str, Any]:
    people: dict[str, list[str]] = {"to": [], "cc": []}
    for recipient in message.parts("__recip_version1.0_#"):
        kind = _RECIPIENT_TYPES.get(recipient.number(_RECIPIENT_TYPE) & 0xF)
        if kind is not None:
            people[kind].append(_person(recipient.text(_NAME), recipient.text(*_ADDRESSES)))
    metadata = {
        "title": " ".join(message.text(_SUBJECT).split()),
        "from": _person(message.text(_SENDER_NAME), message.text(*_SENDER_ADDRESSES)),
        "to": ", ".join(people["to"])[:_MAX_ADDRESSES],
        "cc": ", ".join(people["cc"])[:_MAX_ADDRESSES],
        "date": message.date(_SUBMITTED, _DELIVERED),
        "message_id": message.text(_MESSAGE_ID).strip("<> "),
    }
    return {name: value for name, value in metadata.items() if value}


def _person(name: str, address: str) -> str:
    """A sender or recipient as in other e-mail. Addresses inside an Exchange organisation (/O=…) are left out."""
    name, address = name.strip(" '"), address.strip(" '")
    if "@" not in address or address == name:
        return name or address
    return f"{name} <{address}>" if name else address


def _body(message: _Storage, data: bytes | None) -> str:
    """The text of a message: plain, or as a page, or from RTF."""
    text = message.text(_BODY)
    if text.strip():
        return text
    page = message.stream(_HTML, _BINARY) or message.text(_HTML).encode()
    if page.strip():
        return page_document(page).text
    if data is None:
        return ""
    return plainer(_HEAD.sub("", str(extracted(data, "msg").content)))
