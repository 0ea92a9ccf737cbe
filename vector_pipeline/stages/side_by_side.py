"""Walk a listing and the manifest side by side in path order. Memory does not grow with the number of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import BinaryIO

from vector_pipeline.sources.base import ListedFile, PassedOver, Source
from vector_pipeline.store.manifest import KnownFile

Entry = ListedFile | PassedOver
Pair = tuple[Entry | None, KnownFile | None]
"""An entry of a listing and a file of the manifest with the same path. None stands for what one side lacks."""


def side_by_side(listing: Iterator[Entry], known_files: Iterator[KnownFile]) -> Iterator[Pair]:
    """Yield pairs from a listing and the manifest, both in path order.

    Example: the listing has a and c, the manifest b and c. The pairs are (a, None), (None, b), (c, c).
    """
    known = next(known_files, None)
    for listed in listing:
        if isinstance(listed, PassedOver):
            yield listed, None
            continue
        while known is not None and known.path < listed.path:
            yield None, known
            known = next(known_files, None)
        if known is not None and known.path == listed.path:
            yield listed, known
            known = next(known_files, None)
        else:
            yield listed, None
    while known is not None:
        yield None, known
        known = next(known_files, None)


def lies_in(path: str, folders: AbstractSet[str]) -> bool:
    """Whether a path is one of some folders, or lies in one: takes as long as it has names, however many folders."""
    while path:
        if path in folders:
            return True
        path = path.rpartition("/")[0]
    return False


def has_same_bytes(source: Source, listed: ListedFile, known: KnownFile) -> bool:
    """Whether a file with another fingerprint still has the bytes of its last read; False if reading is expensive."""
    if known.size != listed.size or known.bytes_hash is None or not source.reads_cheaply:
        return False
    try:
        with source.open(listed.path) as stream:
            return hash_bytes(stream) == known.bytes_hash
    except OSError:
        return False  # its arrival will read it and report what is wrong


def hash_bytes(stream: BinaryIO) -> bytes:
    """BLAKE2b-128 of all bytes of a binary stream, read in pieces."""
    digest = hashlib.blake2b(digest_size=16)
    while piece := stream.read(1 << 20):
        digest.update(piece)
    return digest.digest()
