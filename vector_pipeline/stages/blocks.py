"""Compare a listing with the manifest by blocks of files, and read the manifest only where the two differ.

Postgres computes a digest for each block of the manifest (`manifest.known_blocks`), and the scan computes that of the
files listed in its place. Most scans find nothing, so they receive a line for a thousand files.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice

from vector_pipeline.sources.base import ListedFile, PassedOver
from vector_pipeline.stages.side_by_side import Entry, Pair, side_by_side
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, break_off
from vector_pipeline.store.manifest import Block, KnownFile

FEW_BLOCKS = 8
"""So many blocks are read by a query each, which goes over the whole table. Then one query reads all the rest."""

MOST_AHEAD = 50_000
"""Files that are listed while Postgres computes the digests, at most: about 15 MB."""
AT_ONCE = 500
"""Files that are listed between two looks at whether the digests are there."""


@dataclass(frozen=True, slots=True)
class Alike:
    """A number of files that follow one another and are listed exactly as the manifest has them."""

    files: int


@contextmanager
def compared(connection: Connection, root: str, listing: Iterator[Entry]) -> Iterator[Iterator[Alike | Pair]]:
    """Compare a listing with the files of a root. The connection must not be used for anything else inside the block."""
    with ThreadPoolExecutor(1, "manifest") as apart, closing(_KnownFiles(connection, root)) as known:
        # Postgres reads the manifest while the first files are listed.
        blocks = apart.submit(manifest.known_blocks, connection, root)
        try:
            ahead: list[Entry] = []
            while not blocks.done() and len(ahead) < MOST_AHEAD and (more := list(islice(listing, AT_ONCE))):
                ahead += more
            steps = by_blocks(chain(ahead, listing), blocks.result(), known.between)
        except BaseException:
            # Postgres may be waiting for a lock, and this would wait for Postgres.
            break_off(connection)
            raise
        yield steps


def by_blocks(
    listing: Iterator[Entry],
    blocks: Iterable[Block],
    known_files: Callable[[str, str | None], Iterator[KnownFile]],
) -> Iterator[Alike | Pair]:
    """Like `side_by_side`, with blocks in which both sides are alike as one. Memory is that of a block.

    `blocks` are those of the manifest. `known_files` returns its files behind a path up to another one, or to the end.
    Deleted files are only compared where something is listed near them.
    """
    rest, after = _Rest(listing), ""
    for block in blocks:
        listed = rest.up_to(block.last)
        taken = yield from _take(listed, block.files)
        if len(taken) == block.files and _digest(taken) == block.digest:
            yield Alike(block.files)
        else:
            yield from side_by_side(chain(taken, listed), known_files(after, block.last))
        after = block.last
    listed = rest.up_to(None)
    if (first := next(listed, None)) is not None:
        yield from side_by_side(chain((first,), listed), known_files(after, None))


def _take(listed: Iterator[Entry], files: int) -> Generator[Pair, None, list[ListedFile]]:
    """Take files until they end, or are more than so many, which shows that a block differs."""
    taken: list[ListedFile] = []
    for entry in listed:
        if isinstance(entry, PassedOver):
            yield entry, None
            continue
        taken.append(entry)
        if len(taken) > files:
            break
    return taken


def _digest(files: Iterable[ListedFile]) -> bytes:
    return manifest.digest_of((file.path, file.fingerprint) for file in files)


class _Rest:
    """What is left of a listing."""

    def __init__(self, listing: Iterator[Entry]) -> None:
        self._listing = listing
        self._first: ListedFile | None = None
        """A file that was taken from the listing, and lies behind what was asked for."""

    def up_to(self, last: str | None) -> Iterator[Entry]:
        """Yield what is listed up to the file with a path, or to the end."""
        if self._first is not None:
            if last is not None and self._first.path > last:
                return
            first, self._first = self._first, None
            yield first
        for entry in self._listing:
            # The name of what was passed over may be written in another way, which does not keep the order.
            if last is not None and entry.path > last and isinstance(entry, ListedFile):
                self._first = entry
                return
            yield entry


class _KnownFiles:
    """Reads ranges of the files of a root, each behind the one before."""

    def __init__(self, connection: Connection, root: str) -> None:
        self._connection = connection
        self._root = root
        self._ranges = 0
        self._stream: Generator[KnownFile] | None = None
        self._next: KnownFile | None = None

    def between(self, after: str, last: str | None) -> Iterator[KnownFile]:
        """Yield the files behind a path, up to another one or to the end."""
        self._ranges += 1
        if last is not None and self._ranges <= FEW_BLOCKS:
            yield from manifest.files_between(self._connection, self._root, after, last)
            return
        if self._stream is None:
            self._stream = manifest.known_files(self._connection, self._root, after=after)
            self._next = next(self._stream, None)
        while self._next is not None and (last is None or self._next.path <= last):
            known, self._next = self._next, next(self._stream, None)
            if known.path > after:
                yield known

    def close(self) -> None:
        """End the query, so that an error does not leave its transaction open."""
        if self._stream is not None:
            self._stream.close()
