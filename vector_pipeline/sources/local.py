"""Files under a local folder.

Hidden files and folders (a dot first) are left out. A link to a file is followed while it stays inside the root;
a link to a folder never is, so there is no way out of the root and no way round in a circle.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vector_pipeline.errors import SourceError
from vector_pipeline.sources import beneath
from vector_pipeline.sources.base import ListedFile, PassedOver, printable

# The number of folders that are kept open on the way down. In deeper trees the outer ones are opened again later.
_HELD_OPEN = 64


# Errors that say that a link has no target.
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A folder on this machine. `root` is what it is called, `at` the absolute path that it is reached by now."""

    root: str
    at: str = ""

    @property
    def folder(self) -> str:
        """The absolute path of the folder."""
        return self.at or self.root

    @property
    def reads_cheaply(self) -> bool:
        """True: a touched file is read again to check whether its bytes changed."""
        return True

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[ListedFile | PassedOver]:
        """Files in path order; memory is that of one chain of folders, not of the whole tree."""
        # A stack of folders instead of recursion, because nesting may be deeper than Python's own stack.
        try:
            stack = [_Folder.at(self.folder)]
        except OSError as error:
            raise SourceError(f"source '{self.root}' cannot be listed: {error.strerror}") from error
        try:
            while stack:
                folder = stack[-1]
                for name in folder.names:
                    path = folder.prefix + name
                    if name[-1] == "/":
                        if (hidden := self._enter(stack, name[:-1], path[:-1])) is None:
                            break  # the files in it come first
                        yield hidden
                    elif name in folder.links:
                        if (found := self._link(path, wanted)) is not None:
                            yield found
                    elif wanted(path) and (found := self._file(folder, name, path)) is not None:
                        yield found
                else:
                    stack.pop().close()
        finally:
            for folder in stack:
                folder.close()

    def look_at(self, path: str) -> ListedFile:
        """A file as `walk` would list it, found by its path.

        Raises FileNotFoundError if it is gone, and another OSError if only a walk can say what it is: a link, a folder,
        a pipe, or a name that is not UTF-8.
        """
        found = beneath.status(self.folder, path)
        if not stat.S_ISREG(found.st_mode) or not _is_text(path):
            raise OSError(errno.EINVAL, "is no plain file", path)
        return _listed(path, found)

    def _enter(self, stack: list[_Folder], name: str, path: str) -> PassedOver | None:
        try:
            if len(os.fsencode(path)) > beneath.MAX_PATH_BYTES:
                return PassedOver(
                    _shown(path), f"path is longer than {beneath.MAX_PATH_BYTES:,} bytes", hides_files=True
                )
            stack.append(_Folder.of(beneath.listed_folder(name, stack[-1].open_again(self.folder)), path + "/"))
        except OSError as error:
            return PassedOver(_shown(path), f"folder cannot be entered: {error.strerror}", hides_files=True)
        if len(stack) > _HELD_OPEN:
            stack[-_HELD_OPEN - 1].close()
        return None

    def _file(self, folder: _Folder, name: str, path: str) -> ListedFile | PassedOver | None:
        try:
            # Folders are nearly always open, and this runs for every file: a call would take time.
            at = folder.descriptor if folder.descriptor is not None else folder.open_again(self.folder)
            return _looked_at(path, os.stat(name, dir_fd=at, follow_symlinks=False))
        except OSError as error:
            return _unseen(path, error)

    def _link(self, path: str, wanted: Callable[[str], bool]) -> ListedFile | PassedOver | None:
        try:
            inside, reason = self._followed(path)
            if inside is None:
                return PassedOver(_shown(path), reason)
            if not wanted(path):
                return None
            return _looked_at(path, beneath.status(self.folder, inside))
        except OSError as error:
            return _unseen(path, error)

    def _followed(self, path: str) -> tuple[str | None, str]:
        """The target of a link as a path below the root; or None, and the reason why it is not followed.

        Raises OSError if the target may be there, but cannot be looked at.
        """
        try:
            inside = beneath.target(self.folder, path)
            if inside is None:
                is_folder = Path(self.folder, path).is_dir()
                return None, f"link {'to a folder' if is_folder else 'leads out of the source'}; not followed"
            if not inside or stat.S_ISDIR(beneath.status(self.folder, inside).st_mode):
                return None, "link to a folder; not followed"
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in _NOWHERE:
                raise
            return None, "link leads nowhere or round in a circle; not followed"
        return inside, ""

    def open(self, path: str) -> BinaryIO:
        """Open a regular file. Raises OSError, also if a link now leads out of the root."""
        try:
            descriptor = beneath.open_file(self.folder, path)
        except OSError as error:
            if not beneath.is_link(error):
                raise
            inside = beneath.target(self.folder, path)
            if inside is None:
                raise OSError(error.errno, "leads out of the source", path) from error
            descriptor = beneath.open_file(self.folder, inside)
        return os.fdopen(descriptor, "rb")

    def fingerprint(self, path: str, opened: BinaryIO | None = None) -> str:
        """Size, mtime_ns, ctime_ns and inode, as one text."""
        if opened is not None:
            return _fingerprint(os.fstat(opened.fileno()))
        with self.open(path) as now:
            return _fingerprint(os.fstat(now.fileno()))


@dataclass(slots=True)
class _Folder:
    """A folder that is being listed: its path with a slash at the end, and its names in order, those of folders too.

    `links` are those of the names that are links.
    """

    prefix: str
    names: Iterator[str]
    links: frozenset[str]
    descriptor: int | None
    """Open while the folder is near; see `open_again`."""

    @classmethod
    def at(cls, folder: str) -> _Folder:
        """The root. Raises OSError."""
        return cls.of(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), "")

    @classmethod
    def of(cls, descriptor: int, prefix: str) -> _Folder:
        """The folder of a descriptor, which is closed with it. Raises OSError."""
        try:
            with os.scandir(descriptor) as found:
                entries = [entry for entry in found if entry.name[0] != "."]
            # In the order of full paths, where the folder `a` sorts as `a/`, after `a.txt`.
            names = [entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in entries]
            links = frozenset(entry.name for entry in entries if entry.is_symlink())
        except OSError:
            os.close(descriptor)
            raise
        names.sort()
        return cls(prefix, iter(names), links, descriptor)

    def open_again(self, root: str) -> int:
        """The folder's descriptor; it is opened if it was closed. Raises OSError."""
        if self.descriptor is None:
            with beneath.opened_folder(root, self.prefix.rstrip("/")) as descriptor:
                self.descriptor = os.dup(descriptor)
        return self.descriptor

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _looked_at(path: str, status: os.stat_result) -> ListedFile | PassedOver | None:
    """A regular file; None for anything else."""
    if not stat.S_ISREG(status.st_mode):
        return None
    if not (path.isascii() or _is_text(path)):
        return PassedOver(_shown(path), "name is not UTF-8; rename the file")
    return _listed(path, status)


def _unseen(path: str, error: OSError) -> PassedOver | None:
    """What a walk says of a file that it cannot look at; None if the file is gone since the folder was read."""
    if isinstance(error, FileNotFoundError):
        return None
    return PassedOver(_shown(path), f"cannot be looked at: {error.strerror}", hides_files=True)


def _listed(path: str, status: os.stat_result) -> ListedFile:
    """A file as a listing shows it.

    Archives, cameras and other machines leave times of change in the future. When the file itself got what it has,
    nobody can set: not even `touch`. That is then the time at which it was changed last, as far as this is known.
    """
    modified = status.st_mtime if status.st_mtime <= time.time() else status.st_ctime
    return ListedFile(path, status.st_size, _fingerprint(status), modified)


def _fingerprint(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def _is_text(path: str) -> bool:
    if path.isascii():
        return True
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: str) -> str:
    return path if _is_text(path) else printable(path)
