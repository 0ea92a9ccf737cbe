"""Messages of Outlook (.msg), by kreuzberg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import regex

from vector_pipeline.formats.inner import InnerFiles
from vector_pipeline.formats.mail import text_of
from vector_pipeline.formats.markdown import plainer
from vector_pipeline.formats.office import extracted
from vector_pipeline.formats.output import document
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions

# The head that kreuzberg writes above a message. `text_of` writes it from the metadata.
_HEAD = regex.compile(r"\A(?:\s*\*\*(?:Subject|From|To|Cc|CC|Bcc|BCC|Date)\*\*: [^\n]*\n)+")
_MAX_ADDRESSES = 2_000


def read_msg(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """A message as one document, and its attachments as others. Raises FileRejected."""
    found = extracted(stream.read(), "msg")
    stated: dict[str, Any] = dict(found.metadata)
    metadata: dict[str, Any] = {
        "title": stated.get("subject"),
        "from": stated.get("from_email"),
        "to": _addresses(stated, "to_emails"),
        "cc": _addresses(stated, "cc_emails"),
        "date": stated.get("created_at"),
        "message_id": str(stated.get("message_id") or "").strip("<> "),
        "attachments": list(stated.get("attachments") or []),
    }
    metadata = {name: value for name, value in metadata.items() if value}
    yield document(text_of(metadata, plainer(_HEAD.sub("", found.content))), metadata)
    inner = InnerFiles(options, options.depth)
    for child in found.children or []:
        beside = {"message": metadata.get("title", ""), "from": metadata.get("from", "")}
        yield document(plainer(str(child["result"].content)), beside, record=inner.distinct(str(child["path"])))


def _addresses(stated: dict[str, Any], name: str) -> str:
    return ", ".join(map(str, stated.get(name) or []))[:_MAX_ADDRESSES]
