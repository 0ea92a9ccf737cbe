"""Small corpora for tests of the store: files in the manifest, chunks of them, and vectors of their texts."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

import numpy as np

from vector_pipeline.store.binary import Vectors
from vector_pipeline.store.chunks import SourceRows, StoredChunk
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.rows import LoadOutcome, load_sources
from vector_pipeline.store.space import Space
from vector_pipeline.store.spaces import open_space
from vector_pipeline.store.vectors import store_vectors

DIMENSIONS = 16


def hash_of(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def key_of(path: str) -> bytes:
    return hash_of(f"/corpus\0{path}")


def vectors_of(texts: Sequence[str], dimensions: int = DIMENSIONS) -> Vectors:
    """Unit vectors, the same for the same text."""
    rows = [
        np.random.default_rng(int.from_bytes(hash_of(text)[:8])).standard_normal(dimensions, np.float32)
        for text in texts
    ]
    stacked = np.stack(rows)
    return np.asarray(stacked / np.linalg.norm(stacked, axis=1, keepdims=True), dtype=np.float32)


def space_of(connection: Connection, dimensions: int = DIMENSIONS) -> Space:
    return open_space(connection, "test-model", dimensions)


def embed(connection: Connection, texts: Sequence[str], space: Space | None = None) -> int:
    space = space or space_of(connection)
    return store_vectors(connection, space, [hash_of(t) for t in texts], vectors_of(texts, space.dimensions))


def own(connection: Connection, arrival: str, paths: Sequence[str], fingerprint: str = "1", gone: bool = False) -> None:
    """Have an arrival own files, as a scan does."""
    connection.execute(
        "INSERT INTO arrivals (key, root, trigger, files, bytes) VALUES (%s, '/corpus', 'cli', 1, 1) "
        "ON CONFLICT DO NOTHING",
        (arrival,),
    )
    for path in paths:
        connection.execute(
            "INSERT INTO source_files (source_key, root, path, fingerprint, size, arrival, status, gone) "
            "VALUES (%(key)s, '/corpus', %(path)s, %(fingerprint)s, 1, %(arrival)s, 'pending', %(gone)s) "
            "ON CONFLICT (source_key) DO UPDATE SET arrival = %(arrival)s, fingerprint = %(fingerprint)s, "
            "status = 'pending', gone = %(gone)s",
            {
                "key": uuid.UUID(bytes=key_of(path)),
                "path": path,
                "fingerprint": fingerprint,
                "arrival": arrival,
                "gone": gone,
            },
        )


def rows_of(path: str, texts: Sequence[str], fingerprint: str = "1", metadata: str = "{}") -> SourceRows:
    chunks = [
        StoredChunk("", index, index * 10, index * 10 + len(text), text, metadata, len(text.split()), hash_of(text))
        for index, text in enumerate(texts)
    ]
    return SourceRows(key_of(path), path, fingerprint, "utf-8", 1, "p1", chunks)


def load(connection: Connection, arrival: str, files: dict[str, Sequence[str]], fingerprint: str = "1") -> LoadOutcome:
    """Own, embed and load files, as an arrival does."""
    own(connection, arrival, list(files), fingerprint)
    texts = sorted({text for file in files.values() for text in file})
    if texts:
        embed(connection, texts)
    return load_sources(connection, arrival, [rows_of(path, file, fingerprint) for path, file in files.items()])


def scalar(connection: Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]
