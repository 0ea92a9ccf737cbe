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
class InnerFiles:
    """Reads the files inside a file and makes their names distinct. `not_read` holds the first reasons."""

    options: ReaderOptions
    depth: int
    names: set[str] = field(default_factory=set)
    not_read: list[str] = field(default_factory=list)
    total_not_read: int = 0

    def documents(self, name: str, data: bytes) -> Iterator[Document]:
        """Yield the documents of a file whose kind is read by default. If it cannot be read, record the reason."""
        kind = kind_of(name)
        if kind is None or not kind.by_default:
            return
        try:
            found = list(self._read(name, data))
        except FileRejected as rejection:
            self._note(name, str(rejection))
            return
        except (ValueError, LookupError, ArithmeticError, AttributeError, TypeError, RecursionError) as error:
            self._note(name, f"could not be read ({type(error).__name__}: {one_line(error)})")
            return
        for document in found:
            record = self.distinct(f"{name}#{document.record}" if document.record else name)
            yield replace(document, record=record)

    def distinct(self, name: str) -> str:
        """A name that no other document of the file has."""
        found, number = name, 2
        while found in self.names:
            found, number = f"{name} ({number})", number + 1
        self.names.add(found)
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

    def _note(self, name: str, reason: str) -> None:
        self.total_not_read += 1
        if len(self.not_read) < _MAX_REASONS:
            self.not_read.append(f"{name[:200]} {reason}"[:400])
