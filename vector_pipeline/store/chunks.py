"""Chunks on their way into the table, and their ids, which no reload changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the table shows it. `metadata` is JSON text. Offsets count characters."""

    document_id: str
    chunk_index: int
    start_char: int
    end_char: int
    page_content: str
    metadata: str
    token_count: int
    content_hash: bytes
    """Of what is embedded and ranked: the context and the text."""
    context: str = ""
    """What stands in front of the text there; no part of the row."""


@dataclass(frozen=True, slots=True)
class SourceRows:
    """All chunks of a file. `fingerprint` is the one that the manifest had when the file was read."""

    source_key: bytes
    path: str
    fingerprint: str
    encoding: str
    documents: int
    pipeline: str
    chunks: Sequence[StoredChunk]


def chunk_id(source_key: bytes, document_id: str, content_hash: bytes, occurrence: int) -> bytes:
    """The id of a chunk: a hash of its file, document, text and the number of its occurrence in the document, from 0."""
    data = source_key + content_hash + occurrence.to_bytes(8) + document_id.encode()
    return hashlib.blake2b(data, digest_size=16).digest()
