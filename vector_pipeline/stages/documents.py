"""The files of an arrival to documents: read, compared with what was listed, decoded, split into records.

A file that cannot be read is rejected with its reason in the manifest and the others go on.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import orjson

from vector_pipeline.errors import FileRejected
from vector_pipeline.sources.base import Source
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.streams import DocumentRow
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, Database, commit_without_waiting
from vector_pipeline.store.manifest import RACY, OwnedFile
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers import ReadCounts, ReaderOptions, read_documents

# Files up to this size are read in memory; larger ones are copied to a temporary file first, so that a broken
# record at their end is found before anything is passed on, and memory stays that of one record.
SPOOL_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class DocumentsOutcome:
    """What became of an arrival's files on the way to documents; complete once the rows have been taken."""

    files: int = 0
    bytes: int = 0
    documents: int = 0
    characters: int = 0
    records_without_text: int = 0
    """Passed over in files that have others with text."""
    characters_removed: int = 0
    """NUL and surrogate characters."""
    deletions: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    """Path to reason; noted in the manifest already."""
    postponed: dict[str, str] = field(default_factory=dict)
    """Path to reason; still pending, since it changed while it was read or the store failed."""


def files_to_read(connection: Connection, arrival: str) -> list[OwnedFile]:
    """The pending files of an arrival; all that it still owns where none is pending (asked for by hand)."""
    owned = [file for file in manifest.owned_files(connection, arrival) if file.status != "deleted"]
    return [file for file in owned if file.status == "pending"] or owned


def read_arrival(
    database: Database, arrival: str, options: ReaderOptions, outcome: DocumentsOutcome
) -> Iterator[DocumentRow]:
    """Documents of the files of an arrival, one file after the other.

    Raises ConfigurationError or SourceError where the arrival's root cannot be opened.
    """
    with database.connect(role="documents") as connection:
        # What is noted here costs a second look if it is lost, and waiting for the disk per file costs most of the time.
        commit_without_waiting(connection)
        files = files_to_read(connection, arrival)
        outcome.deletions = sum(file.gone for file in files)
        present = [file for file in files if not file.gone]
        source = open_source(present[0].root) if present else None
        for file in present:
            assert source is not None
            yield from _read_file(connection, arrival, source, file, options, outcome)


def _read_file(
    connection: Connection,
    arrival: str,
    source: Source,
    file: OwnedFile,
    options: ReaderOptions,
    outcome: DocumentsOutcome,
) -> Iterator[DocumentRow]:
    try:
        with _snapshot(source, file, options.max_bytes) as (stream, size, digest):
            if source.fingerprint(file.path) != file.fingerprint.removesuffix(RACY):
                outcome.postponed[file.path] = "changed while it was read; the next scan takes it up"
                return
            manifest.note_bytes_hash(connection, arrival, file, digest)
            documents, counts = _documents(stream, size, file.path, options)
            outcome.files += 1
            outcome.bytes += size
            outcome.records_without_text += counts.empty
            outcome.characters_removed += counts.removed
            for document in documents:
                outcome.documents += 1
                outcome.characters += len(document.text)
                yield _row(file, document, counts.encoding)
    except FileRejected as rejection:
        outcome.rejected[file.path] = str(rejection)
        manifest.reject_files(connection, arrival, {(file.source_key, file.fingerprint): str(rejection)})
    except FileNotFoundError:
        outcome.postponed[file.path] = "was deleted before it could be read; the next scan takes it up"
    except OSError as error:
        outcome.postponed[file.path] = f"could not be read: {error.strerror or error}; it is tried again"


@contextmanager
def _snapshot(source: Source, file: OwnedFile, max_bytes: int) -> Iterator[tuple[BinaryIO, int, bytes]]:
    """The bytes of a file as they are now, to be read as often as wanted, with their number and hash."""
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
        spool.seek(0)
        yield cast(BinaryIO, spool), size, digest.digest()


def _refuse_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise FileRejected(
            f"has {size:,} bytes, more than {max_bytes:,}; split it, or raise VECTOR_PIPELINE_MAX_FILE_BYTES"
        )


def _documents(stream: BinaryIO, size: int, path: str, options: ReaderOptions) -> tuple[Iterable[Document], ReadCounts]:
    """The documents of a file, once all of it has proved readable: it is passed on whole or not at all."""
    counts = ReadCounts()
    documents = read_or_reject(stream, path, options, counts)
    if size <= SPOOL_BYTES and not path.lower().endswith(".gz"):
        return list(documents), counts
    for _ in documents:
        pass
    stream.seek(0)
    return read_documents(stream, path, options), counts


def read_or_reject(
    stream: BinaryIO, path: str, options: ReaderOptions, counts: ReadCounts | None = None
) -> Iterator[Document]:
    """The documents of a file. Raises FileRejected also for a mistake of a reader's own, and OSError."""
    try:
        yield from read_documents(stream, path, options, counts)
    except (FileRejected, OSError):
        raise
    except Exception as error:
        # It must not stop the other files; the type helps whoever reports it.
        raise FileRejected(f"could not be read ({type(error).__name__}: {str(error)[:200]})") from error


def _row(file: OwnedFile, document: Document, encoding: str) -> DocumentRow:
    return DocumentRow(
        source_key=file.source_key.bytes,
        source=file.path,
        fingerprint=file.fingerprint,
        encoding=encoding,
        document_id=f"{file.path}#{document.record}" if document.record else file.path,
        text=document.text,
        metadata=orjson.dumps(dict(document.metadata)).decode(),
    )
