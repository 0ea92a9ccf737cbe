"""E-mail: each message is a document, and so is each attachment whose kind can be read."""

from __future__ import annotations

import email
import email.policy
import email.utils
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from email.message import EmailMessage
from types import MappingProxyType
from typing import Any, BinaryIO, cast

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.inner import InnerFiles, Reasons, with_reasons
from vector_pipeline.formats.output import document
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
from vector_pipeline.text.encodings.labels import encoding_of
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.markup import page_document

_FROM = regex.compile(rb"(?m)^From [^\n]*\n")
_ESCAPED_FROM = regex.compile(rb"(?m)^>(>*From )")
# Before the first line of a message there is nothing or a blank line.
_BEFORE = regex.compile(rb"\A(?:.?\n\n|\r?\n\r\n|)\Z", regex.DOTALL)
_HEADERS = ("from", "to", "cc", "date")
_MAX_ADDRESSES = 2_000
_MAX_PARTS = 2_000
# Encodings of seven bits: their bytes look like ASCII, so only the header tells them apart (RFC 1843, RFC 2152).
_SEVEN_BIT: Mapping[str, str] = MappingProxyType(
    {"hz-gb-2312": "hz", "utf-7": "utf_7", "unicode-1-1-utf-7": "utf_7", "x-unicode-1-1-utf-7": "utf_7"}
)


def read_eml(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A message as one document, and its attachments as others (`mail.eml#invoice.pdf`)."""
    inner = InnerFiles(options, options.depth)
    data = stream.read()
    if not data.strip():
        return
    yield from _message(data, "", inner)


def read_mbox(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """Yield the messages of a mailbox. Their names are their Message-IDs, or their numbers if they have none."""
    data = stream.read()
    starts = [match for match in _FROM.finditer(data) if _BEFORE.match(data[max(0, match.start() - 3) : match.start()])]
    if not starts:
        raise FileRejected("is not a mailbox (no line begins a message with 'From '); save it again, or call it .eml")
    inner = InnerFiles(options, options.depth)
    found: list[Document] = []
    not_read = Reasons()
    for number, start in enumerate(starts, 1):
        end = starts[number].start() if number < len(starts) else len(data)
        try:
            found += _message(_ESCAPED_FROM.sub(rb"\1", data[start.end() : end]), str(number), inner)
        except FileRejected as rejection:
            not_read.add(f"message {number}", str(rejection))
    if not found:
        raise FileRejected(f"holds no message that can be read; the first of them: {not_read.first}")
    yield with_reasons(found[0], "messages_not_read", not_read)
    yield from found[1:]


def _message(data: bytes, number: str, inner: InnerFiles) -> Iterator[Document]:
    message = email.message_from_bytes(data, policy=email.policy.default)
    metadata = _stated(message)
    name = str(metadata.get("message_id", number))[:200] if number else ""
    name = inner.distinct(name) if number else ""
    body, attachments, not_decoded = _parts(message)
    if not_decoded and not body and not attachments:
        raise FileRejected(f"{not_decoded[0]}; save it again as UTF-8 in a mail program")
    for reason in not_decoded:
        inner.refuse("a part of the text", reason)
    metadata["attachments"] = [title for title, _ in attachments]
    folder = f"{name}/" if name else ""
    found = [
        replace(inside, metadata=beside(inside, metadata))
        for title, content in attachments
        for inside in inner.documents(title, content, folder)
    ]
    own = document(text_of(metadata, body), metadata, record=name)
    yield with_reasons(own, "attachments_not_read", inner.take_reasons())
    yield from found


def beside(inside: Document, metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata of an attachment, with the message that it belongs to. A message inside keeps its own fields."""
    of_message = {"message": metadata.get("title", ""), "from": metadata.get("from", "")}
    return {**{name: value for name, value in of_message.items() if value}, **inside.metadata}


def _stated(message: EmailMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"title": _header(message, "subject")}
    for name in ("from", "to", "cc"):
        found[name] = _header(message, name)[:_MAX_ADDRESSES]
    found["date"] = _date(_header(message, "date"))
    found["message_id"] = _header(message, "message-id").strip("<> ")
    return {name: value for name, value in found.items() if value}


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = message[name]
    except (ValueError, LookupError, AttributeError, TypeError, IndexError):
        # The parser of the standard library fails on some headers that programs write.
        value = next((str(raw) for key, raw in message.raw_items() if key.lower() == name), "")
    return " ".join(str(value or "").split())


def _date(text: str) -> str:
    try:
        return email.utils.parsedate_to_datetime(text).isoformat()
    except (ValueError, TypeError, IndexError):
        return text


def _parts(message: EmailMessage) -> tuple[str, list[tuple[str, bytes]], list[str]]:
    """The text of a message, its attachments by their name, and why parts of its text cannot be decoded."""
    texts: list[str] = []
    not_decoded: list[str] = []
    attachments: list[tuple[str, bytes]] = []
    for part, has_plain in _leaves(message):
        kind = part.get_content_type()
        name = _file_name(part)
        if kind == "message/rfc822":
            inside = part.get_payload()
            for forwarded in inside if isinstance(inside, list) else []:
                if isinstance(forwarded, EmailMessage):
                    attachments.append((name or "forwarded message.eml", forwarded.as_bytes()))
        elif name or part.get_content_disposition() == "attachment":
            attachments.append((name or "attachment", _payload(part)))
        elif kind == "text/plain" or (part.get_content_maintype() in ("text", "multipart") and not has_plain):
            # What claims to have parts, but has none, is text.
            try:
                texts.append(_text(part))
            except FileRejected as rejection:
                not_decoded.append(str(rejection).partition(";")[0])
    return "\n\n".join(filter(str.strip, texts)), attachments, not_decoded


def _leaves(message: EmailMessage) -> Iterator[tuple[EmailMessage, bool]]:
    """Yield the parts that have no parts, each with whether it has an alternative as plain text."""
    waiting = [(message, False)]
    count = 0
    while waiting:
        part, has_plain = waiting.pop()
        if part.is_multipart() and part.get_content_type() != "message/rfc822":
            inside = cast(list[EmailMessage], part.get_payload())
            if part.get_content_type() == "multipart/alternative":
                has_plain = has_plain or any(map(_is_plain_text, inside))
            waiting.extend((child, has_plain) for child in reversed(inside))
            continue
        count += 1
        if count > _MAX_PARTS:
            raise FileRejected(f"has more than {_MAX_PARTS:,} parts; split it, or remove it from the source")
        yield part, has_plain


def _is_plain_text(part: EmailMessage) -> bool:
    return part.get_content_type() == "text/plain" and bool(_payload(part).strip())


def _text(part: EmailMessage) -> str:
    data, label = _payload(part), _label(part)
    if codec := _SEVEN_BIT.get(label.lower()):
        with suppress(UnicodeDecodeError):
            data, label = data.decode(codec).encode(), ""
    if part.get_content_type() == "text/html":
        return page_document(data, label=label).text
    return decode(data, declared=encoding_of(label)).text


def _file_name(part: EmailMessage) -> str:
    try:
        name = part.get_filename() or ""
    except (ValueError, LookupError, AttributeError, TypeError, IndexError):
        name = ""
    return " ".join(name.replace("\\", "/").rpartition("/")[2].split())[:200]


def _payload(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _label(part: EmailMessage) -> str:
    try:
        return part.get_content_charset("") or ""
    except (ValueError, LookupError, AttributeError, TypeError, IndexError):
        return ""


def text_of(metadata: dict[str, Any], body: str) -> str:
    """A message as a person sees it: subject, sender, recipients, date and text."""
    head = "\n".join(f"{name.capitalize()}: {metadata[name]}" for name in _HEADERS if metadata.get(name))
    title = f"# {metadata['title']}" if metadata.get("title") else ""
    return "\n\n".join(filter(None, (title, head, body.strip())))
