"""What a source of files can do, and which kind of source a location names.

Nothing is read or cut here, and nothing is known of the database: `walk` says what is there, `open` gives bytes.
Paths are relative to the root, with `/`, in the order of their code points, which is also the order of
`COLLATE "C"` in Postgres: a scan walks the listing and the manifest side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as a listing shows it; `modified` is seconds since the epoch, 0.0 where the store says nothing.

    `by_content` says that the fingerprint changes with the content itself, as an etag does: two changes within the
    resolution of the store's clock are then told apart.
    """

    path: str
    size: int
    fingerprint: str
    modified: float
    by_content: bool = False


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Something that a listing did not follow or could not enter, and why.

    `path` can be printed and stored whatever bytes the name has.
    `hides_files` says that files below `path` may exist which the listing does not show: they must not be
    taken for deleted.
    """

    path: str
    reason: str
    hides_files: bool = False


def printable(name: str) -> str:
    """A name on one line: files may have line ends, control characters and bytes that are no UTF-8 in theirs."""
    as_bytes = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in as_bytes)


class Source(Protocol):
    """A root with files under it. A walk takes as long as the store takes; nothing is kept."""

    @property
    def root(self) -> str:
        """The root's one spelling: an absolute path without links, or a URL, without a slash at its end."""
        ...

    @property
    def reads_cheaply(self) -> bool:
        """Whether reading a file again to compare its bytes costs next to nothing (local disk)."""
        ...

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[ListedFile | PassedOver]:
        """Files whose path is `wanted`, in path order, and what was passed over. Raises SourceError."""
        ...

    def open(self, path: str) -> BinaryIO:
        """The bytes of a regular file of the source, never of one elsewhere; nothing is waited for.

        Raises FileNotFoundError or another OSError.
        """
        ...

    def fingerprint(self, path: str, opened: BinaryIO | None = None) -> str:
        """The fingerprint that a listing would show for a file now: for the one that was opened, where it is given.

        Raises FileNotFoundError or another OSError.
        """
        ...
