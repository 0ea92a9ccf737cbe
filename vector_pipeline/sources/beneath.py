"""Open files below a folder so that no link can lead out of the folder, even if the link is created during the call.

A path is opened name by name, each from the folder opened before, and no link is followed (like `openat2` with
RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, which not every system has). The status of a file is that of the opened file,
not of whatever its path names by then.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", 0)
# If a pipe or a device has replaced a file, opening it must not block.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

MAX_PATH_BYTES = 4_096
"""The longest path in bytes: PATH_MAX of Linux, and more than any path that a person creates on purpose."""


@contextmanager
def opened_folder(root: str, path: str) -> Iterator[int]:
    """The descriptor of a folder below `root` (itself for an empty path).

    Raises OSError, ELOOP or ENOTDIR for a link.
    """
    # The user named the root, so it may be a link.
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.split("/") if path else ():
            if name in ("", ".", ".."):
                raise OSError(errno.EINVAL, "is no path below its source", path)
            inner = os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def listed_folder(name: str, parent: int) -> int:
    """Open a folder in another one to list it; returns its descriptor, which the caller closes."""
    return os.open(name, _LISTED, dir_fd=parent)


def open_file(root: str, path: str) -> int:
    """Open a regular file below `root` to read it; returns its descriptor, which the caller closes.

    Raises OSError: ELOOP or ENOTDIR if there is a link in the path, EINVAL if it is not a regular file.
    """
    folder, _, name = path.rpartition("/")
    with opened_folder(root, folder) as parent:
        # Checked first, because opening a device already uses it.
        _check(os.stat(name, dir_fd=parent, follow_symlinks=False), path)
        descriptor = os.open(name, _FILE, dir_fd=parent)
    try:
        _check(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def status(root: str, path: str) -> os.stat_result:
    """The status of a path below `root`; a link is not followed. Raises OSError."""
    folder, _, name = path.rpartition("/")
    with opened_folder(root, folder) as parent:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)


def target(root: str, path: str) -> str | None:
    """The path below `root` that the links in a path lead to; None if that is outside. Raises OSError.

    It is only valid at this moment, so the caller opens it without following links.
    """
    folder = os.path.realpath(root, strict=True)
    found = os.path.realpath(f"{folder}/{path}", strict=True)
    return found[len(folder) :].lstrip("/") if found.startswith(folder.rstrip("/") + "/") else None


def is_link(error: OSError) -> bool:
    """Whether an error is that of a link which was not followed."""
    return error.errno in (errno.ELOOP, errno.ENOTDIR, getattr(errno, "EMLINK", errno.ELOOP))


def _check(found: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "is a link", path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no file any more, but a folder, a pipe or a device", path)
