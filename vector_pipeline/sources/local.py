"""Files under a local folder.

Hidden files and folders (a dot first) are left out. A link to a file is followed while it stays inside the root;
a link to a folder never is, so there is no way out of the root and no way round in a circle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vector_pipeline.errors import SourceError
from vector_pipeline.sources.base import ListedFile, PassedOver, printable


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A folder on this machine; `root` is its absolute path without links."""

    root: str

    @property
    def reads_cheaply(self) -> bool:
        """True: a touched file is read again to see whether its bytes changed."""
        return True

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[ListedFile | PassedOver]:
        """Files in path order; memory is that of one chain of folders, not of the whole tree."""
        try:
            entries = _sorted_entries(self.root)
        except OSError as error:
            raise SourceError(f"source '{self.root}' cannot be listed: {error.strerror}") from error
        yield from self._descend(entries, "", wanted)

    def _descend(
        self, entries: list[os.DirEntry[str]], prefix: str, wanted: Callable[[str], bool]
    ) -> Iterator[ListedFile | PassedOver]:
        # A stack of iterators instead of recursion: nesting may be deeper than Python's own stack.
        stack = [(prefix, iter(entries))]
        while stack:
            prefix, folder = stack[-1]
            entry = next(folder, None)
            if entry is None:
                stack.pop()
                continue
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                try:
                    stack.append((path + "/", iter(_sorted_entries(entry.path))))
                except OSError as error:
                    yield PassedOver(_shown(path), f"folder cannot be entered: {error.strerror}", hides_files=True)
            elif (found := self._file(entry, path, wanted)) is not None:
                yield found

    def _file(self, entry: os.DirEntry[str], path: str, wanted: Callable[[str], bool]) -> ListedFile | PassedOver | None:
        if entry.is_symlink() and (reason := self._why_not_followed(entry.path)):
            return PassedOver(_shown(path), reason)
        if not wanted(path) or not entry.is_file():
            return None
        if not _is_text(path):
            return PassedOver(_shown(path), "name is not UTF-8; rename the file")
        try:
            status = entry.stat()
        except FileNotFoundError:
            return None  # gone since the folder was read
        except OSError as error:
            return PassedOver(path, f"cannot be looked at: {error.strerror}", hides_files=True)
        return ListedFile(path, status.st_size, _fingerprint(status), status.st_mtime)

    def _why_not_followed(self, path: str) -> str | None:
        try:
            target = Path(path).resolve(strict=True)
        except (OSError, RuntimeError):
            return "link leads nowhere or round in a circle; not followed"
        if target.is_dir():
            return "link to a folder; not followed"
        return None if target.is_relative_to(self.root) else "link leads out of the source; not followed"

    def open(self, path: str) -> BinaryIO:
        """The bytes of a file; PermissionError where a link leads out of the root by now."""
        full = Path(self.root, path)
        if not full.resolve(strict=True).is_relative_to(self.root):
            raise PermissionError(f"'{path}' leads out of the source")
        return full.open("rb")

    def fingerprint(self, path: str) -> str:
        """Size, mtime_ns, ctime_ns and inode, as one text."""
        return _fingerprint(Path(self.root, path).stat())


def _sorted_entries(folder: str) -> list[os.DirEntry[str]]:
    """Entries in the order that full paths have, in which the folder `a` sorts as `a/`, behind `a.txt`."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda e: e.name + "/" if e.is_dir(follow_symlinks=False) else e.name)


def _fingerprint(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: str) -> str:
    return path if _is_text(path) else printable(path)
