"""Files inside a file: attachments and members of an archive. Each is read by its own reader."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

from vector_pipeline.errors import FileRejected, one_line
from vector_pipeline.formats.kinds import KINDS, kind_of, load_reader
from vector_pipeline.formats.sniffing import sniffed
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers import read_documents
from vector_pipeline.text.readers.base import ReaderOptions

# The deepest nesting, such as messages in messages in archives. Real documents are not nested deeper.
MAX_DEPTH = 4

# The number of reasons that are kept for files that could not be read.
_MAX_REASONS = 20


@dataclass(slots=True)
class Reasons:
    """Why parts of a file could not be read: the first reasons, and the number of all."""

    kept: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str, reason: str) -> None:
        """Add the reason for a part."""
        self.count += 1
        if len(self.kept) < _MAX_REASONS:
            self.kept.append(f"{name[:200]} {reason}"[:400])

    @property
    def first(self) -> str:
        """The first reason; empty if there is none."""
        return self.kept[0] if self.kept else ""


def with_reasons(document: Document, name: str, reasons: Reasons) -> Document:
    """A document with the reasons and their number in its metadata; as it is if there are none."""
    if not reasons.count:
        return document
    noted = {**document.metadata, name: reasons.kept, f"{name}_count": reasons.count}
    return replace(document, metadata=noted)


@dataclass(slots=True)
class InnerFiles:
    """Reads the files inside a file and makes their names distinct. `names` counts those that began alike."""

    options: ReaderOptions
    depth: int
    names: dict[str, int] = field(default_factory=dict)
    _reasons: Reasons = field(default_factory=Reasons)

    def documents(self, name: str, data: bytes, folder: str = "") -> Iterator[Document]:
        """Yield the documents of a file whose kind is read by default. If it cannot be read, record the reason.

        Their names begin with `folder`.
        """
        kind = kind_of(name)
        if kind is None or not kind.by_default:
            return
        try:
            found = list(self._read(name, data))
        except FileRejected as rejection:
            self._reasons.add(name, str(rejection))
            return
        except (MemoryError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic in a library is no Exception, and must not stop the others
            self._reasons.add(name, f"could not be read ({type(error).__name__}: {one_line(error)})")
            return
        for document in found:
            record = self.distinct(f"{folder}{name}#{document.record}" if document.record else f"{folder}{name}")
            yield replace(document, record=record)

    def beside(self) -> InnerFiles:
        """The same with reasons of its own, for a message inside a message."""
        return InnerFiles(self.options, self.depth, self.names)

    def refuse(self, name: str, reason: str) -> None:
        """Record why a part could not be read that is no file of its own."""
        self._reasons.add(name, reason)

    def take_reasons(self) -> Reasons:
        """The reasons for the files that could not be read since the last call."""
        taken, self._reasons = self._reasons, Reasons()
        return taken

    def distinct(self, name: str) -> str:
        """A name that no other document of the file has."""
        found = name
        while found in self.names:
            self.names[name] += 1
            found = f"{name} ({self.names[name]})"
        self.names[found] = 1
        return found

    def _read(self, name: str, data: bytes) -> Iterator[Document]:
        stream = cast(BinaryIO, io.BytesIO(data))
        found = sniffed(stream)
        kind = next((kind for kind in KINDS if kind.name == found and kind.reader), None) or kind_of(name)
        assert kind is not None
        if found == "encrypted":
            raise FileRejected("is protected by a password")
        if not kind.reader:
            return read_documents(stream, name, self.options)
        if not kind.is_installed:
            raise FileRejected("is of a kind whose reader is not installed")
        if kind.holds_files and self.depth >= MAX_DEPTH:
            raise FileRejected(f"lies in more than {MAX_DEPTH} files")
        return load_reader(kind.reader)(stream, replace(self.options, depth=self.depth + 1))
