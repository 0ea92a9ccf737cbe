"""What a source of files can do, and which kind of source a location names.

Nothing is read or cut here, and nothing is known of the database: `walk` says what is there, `open` gives bytes.
Paths are relative to the root, with `/`, in the order of their code points, which is also the order of
`COLLATE "C"` in Postgres: a scan walks the listing and the manifest side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from vector_pipeline.errors import ConfigurationError, SourceError


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
        """The bytes of a file. Raises FileNotFoundError, PermissionError or another OSError."""
        ...

    def fingerprint(self, path: str) -> str:
        """The fingerprint that a listing would show for a file now. Raises FileNotFoundError or OSError."""
        ...


def open_source(location: str) -> Source:
    """The source that a path or URL names.

    Raises ConfigurationError where it does not exist, is no folder, or names a protocol whose package is not
    installed; SourceError where it cannot be reached.
    """
    if "://" in location and not location.startswith("file://"):
        from vector_pipeline.sources.remote import RemoteSource

        return RemoteSource.at(location)
    from vector_pipeline.sources.local import LocalSource

    path = Path(location.removeprefix("file://")).expanduser()
    if not path.exists():
        raise ConfigurationError(
            f"source '{location}' does not exist; give a folder or a URL such as s3://bucket/folder"
        )
    if not path.is_dir():
        raise ConfigurationError(f"source '{location}' is a file; give the folder that holds it")
    if not os.access(path, os.R_OK | os.X_OK):
        raise SourceError(f"source '{location}' cannot be entered; give this user the right to read it")
    return LocalSource(str(path.resolve()))
