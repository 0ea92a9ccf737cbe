"""The stage `documents`: read the files of an arrival, compare them with the listing, decode and split them.

A file that cannot be read is rejected with its reason in the manifest, and the other files continue.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import orjson

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.output import what_is_lacking
from vector_pipeline.formats.pool import ReaderLimits, ReaderPool
from vector_pipeline.formats.reading import begin, is_read_apart, read_file
from vector_pipeline.sources.base import Source, printable
from vector_pipeline.stages.roots import open_root
from vector_pipeline.stages.streams import DocumentRow
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, Database, commit_without_waiting
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.manifest import RACY, OwnedFile
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers import ReadCounts, ReaderOptions, with_text

# Files up to this size are read in memory. Larger ones are copied to a temporary file first. So a broken record at the
# end is found before any document is passed on, and only one record is in memory.
SPOOL_BYTES = 8 * 1024 * 1024

# The number of files that may wait after one that a process of its own reads.
MAX_AHEAD = 64


@dataclass(slots=True)
class DocumentsOutcome:
    """Counts of the stage. They are complete once the caller has taken all rows."""

    files: int = 0
    bytes: int = 0
    documents: int = 0
    characters: int = 0
    records_without_text: int = 0
    """Records without text that were left out, in files with other records."""
    characters_removed: int = 0
    """NUL and surrogate characters."""
    loaded_in_part: dict[str, str] = field(default_factory=dict)
    """Maps a path to what of a loaded file could not be read: pages that are pictures, files inside it."""
    deletions: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    """Maps a path to the reason, which is already in the manifest."""
    postponed: dict[str, str] = field(default_factory=dict)
    """Maps a path to the reason why it is still pending: it changed while it was read, or the store failed."""


def files_to_read(connection: Connection, arrival: str) -> list[OwnedFile]:
    """The pending files of an arrival. If none is pending (a person started the run), all that it still owns."""
    owned = [file for file in manifest.owned_files(connection, arrival) if file.status != "deleted"]
    return [file for file in owned if file.status == "pending"] or owned


def read_arrival(
    database: Database, arrival: str, options: ReaderOptions, limits: ReaderLimits, outcome: DocumentsOutcome
) -> Iterator[DocumentRow]:
    """Yield the documents of an arrival's files, file by file in the order of their paths.

    Files that are read in processes of their own are begun ahead of the others.
    Raises ConfigurationError or SourceError if the arrival's root cannot be opened.
    """
    # If these entries are lost, the files are only checked again. Waiting for the disk for each file would take long.
    with Kept(database, "documents", prepare=commit_without_waiting) as kept, ReaderPool(limits) as pool:
        files = kept.run(lambda connection: files_to_read(connection, arrival))
        outcome.deletions = sum(file.gone for file in files)
        present = [file for file in files if not file.gone]
        if present:
            source = kept.run(lambda connection: open_root(connection, present[0].root))
            yield from _Reading(kept, arrival, source, options, pool, outcome).rows(present)


@dataclass(slots=True)
class _Begun:
    """A file that a process of its own reads, and what has to be closed afterwards."""

    file: OwnedFile
    size: int
    documents: Future[list[Document]]
    opened: ExitStack


@dataclass(frozen=True, slots=True)
class _Reading:
    """The reading of one arrival."""

    kept: Kept
    arrival: str
    source: Source
    options: ReaderOptions
    pool: ReaderPool
    outcome: DocumentsOutcome

    def rows(self, files: Iterable[OwnedFile]) -> Iterator[DocumentRow]:
        """The documents of the files, in their order."""
        ahead: deque[OwnedFile | _Begun] = deque()
        begun = 0
        try:
            for file in files:
                item = self._begin(file) if is_read_apart(file.path) else file
                if item is None:
                    continue
                ahead.append(item)
                begun += isinstance(item, _Begun)
                while ahead and self._is_due(ahead, begun):
                    begun -= isinstance(ahead[0], _Begun)
                    yield from self._finish(ahead.popleft())
            while ahead:
                yield from self._finish(ahead.popleft())
        finally:
            for item in ahead:
                if isinstance(item, _Begun):
                    item.opened.close()

    def _is_due(self, ahead: deque[OwnedFile | _Begun], begun: int) -> bool:
        first = ahead[0]
        waits = isinstance(first, _Begun) and not first.documents.done()
        return not waits or begun > 2 * self.pool.processes or len(ahead) > MAX_AHEAD

    def _begin(self, file: OwnedFile) -> _Begun | None:
        """Let a process begin to read a file; None if it was rejected or postponed."""
        with self._noting(file), ExitStack() as stack:
            found = stack.enter_context(_snapshot(self.source, file, self.options.max_bytes))
            stream, size, digest, fingerprint = found
            if self._is_as_listed(file, digest, fingerprint):
                return _Begun(file, size, begin(self.pool, stream, file.path, self.options), stack.pop_all())
        return None

    def _finish(self, item: OwnedFile | _Begun) -> Iterator[DocumentRow]:
        file = item.file if isinstance(item, _Begun) else item
        with self._noting(file):
            if isinstance(item, _Begun):
                with item.opened:
                    counts = ReadCounts()
                    documents = list(with_text(item.documents.result(), counts))
                yield from self._rows_of(file, item.size, documents, counts)
                return
            with _snapshot(self.source, file, self.options.max_bytes) as (stream, size, digest, fingerprint):
                if self._is_as_listed(file, digest, fingerprint):
                    of_file, counts = _documents(self.pool, stream, size, file.path, self.options)
                    yield from self._rows_of(file, size, of_file, counts)

    def _is_as_listed(self, file: OwnedFile, digest: bytes, fingerprint: str) -> bool:
        if fingerprint != file.fingerprint.removesuffix(RACY):
            self.outcome.postponed[file.path] = "changed while it was read; the next scan takes it up"
            return False
        self.kept.run(lambda connection: manifest.note_bytes_hash(connection, self.arrival, file, digest))
        return True

    def _rows_of(
        self, file: OwnedFile, size: int, documents: Iterable[Document], counts: ReadCounts
    ) -> Iterator[DocumentRow]:
        outcome = self.outcome
        outcome.files += 1
        outcome.bytes += size
        outcome.records_without_text += counts.empty
        outcome.characters_removed += counts.removed
        for document in documents:
            outcome.documents += 1
            outcome.characters += len(document.text)
            if lacking := what_is_lacking(document):
                outcome.loaded_in_part.setdefault(file.path, lacking)
            yield _row(file, document, counts.encoding)

    @contextmanager
    def _noting(self, file: OwnedFile) -> Iterator[None]:
        """Record an error with a file, and let the other files continue."""
        try:
            yield
        except FileRejected as rejection:
            # The reason may quote the file, and it is shown in terminals, in logs and in the UI.
            reason = self.outcome.rejected[file.path] = printable(str(rejection))
            reasons = {(file.source_key, file.fingerprint): reason}
            until: manifest.Until = "next" if isinstance(rejection.__cause__, PermissionError) else "change"
            self.kept.run(lambda connection: manifest.reject_files(connection, self.arrival, reasons, until=until))
        except FileNotFoundError:
            self.outcome.postponed[file.path] = "was deleted before it could be read; the next scan takes it up"
        except OSError as error:
            self.outcome.postponed[file.path] = f"could not be read: {error.strerror or error}; it is tried again"


@contextmanager
def _snapshot(source: Source, file: OwnedFile, max_bytes: int) -> Iterator[tuple[BinaryIO, int, bytes, str]]:
    """The present bytes of a file as a stream that can be read again, with their number, hash and fingerprint."""
    try:
        opened = source.open(file.path)
    except PermissionError as error:
        raise FileRejected(f"may not be read ({error.strerror or error}); give this user the right to") from error
    with opened, tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        _refuse_size(opened.seek(0, io.SEEK_END), max_bytes)
        opened.seek(0)
        digest = hashlib.blake2b(digest_size=16)
        size = 0
        while piece := opened.read(1 << 20):
            digest.update(piece)
            spool.write(piece)
            size += len(piece)
            _refuse_size(size, max_bytes)
        # Taken after reading and from the open file, so it belongs to these bytes.
        fingerprint = source.fingerprint(file.path, opened)
        spool.seek(0)
        yield cast(BinaryIO, spool), size, digest.digest(), fingerprint


def _refuse_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise FileRejected(
            f"has {size:,} bytes, more than {max_bytes:,}; split it, or raise VECTOR_PIPELINE_MAX_FILE_BYTES"
        )


def _documents(
    pool: ReaderPool, stream: BinaryIO, size: int, path: str, options: ReaderOptions
) -> tuple[Iterable[Document], ReadCounts]:
    """The documents of a file, after the whole file has been read without an error."""
    counts = ReadCounts()
    documents = read_file(pool, stream, path, options, counts)
    if size <= SPOOL_BYTES and not path.lower().endswith(".gz"):
        return list(documents), counts
    for _ in documents:
        pass
    stream.seek(0)
    return read_file(pool, stream, path, options), counts


def _row(file: OwnedFile, document: Document, encoding: str) -> DocumentRow:
    return DocumentRow(
        source_key=file.source_key.bytes,
        source=file.path,
        fingerprint=file.fingerprint,
        encoding=encoding,
        document_id=f"{file.path}#{document.record}" if document.record else file.path,
        text=document.text,
        metadata=orjson.dumps(dict(document.metadata)).decode(),
        places=orjson.dumps(dict(document.places)).decode(),
        outline=orjson.dumps(document.outline).decode(),
    )
