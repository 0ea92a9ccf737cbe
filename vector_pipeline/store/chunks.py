"""Chunks on their way into the table: what a row holds, and the id that it keeps through every reload."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the table shows it; `metadata` is JSON text, offsets count characters."""

    document_id: str
    chunk_index: int
    start_char: int
    end_char: int
    page_content: str
    metadata: str
    token_count: int
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class SourceRows:
    """All chunks of a file, as it was read: `fingerprint` is the manifest's at that time."""

    source_key: bytes
    path: str
    fingerprint: str
    encoding: str
    documents: int
    pipeline: str
    chunks: Sequence[StoredChunk]


def chunk_id(source_key: bytes, document_id: str, content_hash: bytes, occurrence: int) -> bytes:
    """The id of a chunk: of file, document, text, and which occurrence of that text in the document it is."""
    data = source_key + content_hash + occurrence.to_bytes(8) + document_id.encode()
    return hashlib.blake2b(data, digest_size=16).digest()
