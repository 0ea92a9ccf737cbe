"""The interface of a source of files: `walk` lists the files and `open` returns the bytes of one.

A source knows nothing about text or the database. Paths are relative to the root, with `/`, in the order of their code
points. Postgres has the same order with `COLLATE "C"`, so a scan can walk the listing and the manifest side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol


class ListedFile(NamedTuple):
    """A file as a listing shows it. `modified` is seconds since the epoch, 0.0 if the store does not say.

    `by_content` means that the fingerprint changes with the content itself, like an etag. It then differs even after two
    changes within the resolution of the store's clock.
    """

    # A tuple, which takes a fraction of the time of a dataclass: a scan makes one for every file.

    path: str
    size: int
    fingerprint: str
    modified: float
    by_content: bool = False


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Something that a listing did not follow or could not enter, and why.

    `path` can always be printed and stored, even if the name has bytes that cannot. `hides_files` means that there may
    be files below `path` that the listing does not show. They must not count as deleted.
    """

    path: str
    reason: str
    hides_files: bool = False


def printable(name: str) -> str:
    """A file name on one line, with line ends, control characters and bytes that are not UTF-8 escaped."""
    return "".join(c if c.isprintable() else _escaped(c) for c in name)


def _escaped(character: str) -> str:
    # Python represents bytes of a name that are not UTF-8 as lone surrogates (PEP 383).
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


class Source(Protocol):
    """A root with files under it. It keeps no state, so every walk lists the store again."""

    @property
    def root(self) -> str:
        """The name of the root: an absolute path without `..`, or a URL; no slash at the end."""
        ...

    @property
    def reads_cheaply(self) -> bool:
        """Whether reading a file again to compare its bytes costs next to nothing (local disk)."""
        ...

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[ListedFile | PassedOver]:
        """Yield the files whose path is `wanted`, in path order, and what was passed over. Raises SourceError."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a regular file of the source, never one outside it. It does not wait for a pipe or device.

        Raises FileNotFoundError or another OSError.
        """
        ...

    def fingerprint(self, path: str, opened: BinaryIO | None = None) -> str:
        """The fingerprint that a listing would show for a file now. If `opened` is given, it is that of the open file.

        Raises FileNotFoundError or another OSError.
        """
        ...
