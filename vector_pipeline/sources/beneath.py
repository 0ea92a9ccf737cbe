"""Files below a folder, opened in such a way that no link, whenever it is put there, leads out of the folder.

A path is walked one name after the other, each from the folder that the one before opened, and no link is followed
(as `openat2` does with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, which not every system has). What is said of a file is
said of the file that was opened, and not of what its path may name by then.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", 0)
# A pipe or a device that has taken a file's place must not keep the one who opens it waiting.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

MAX_PATH_BYTES = 4_096
"""Bytes of a path: what Linux takes at once (PATH_MAX), and more than any path that somebody made on purpose."""


@contextmanager
def opened_folder(root: str, path: str) -> Iterator[int]:
    """The descriptor of a folder below `root` (itself for an empty path).

    Raises OSError, ELOOP or ENOTDIR for a link.
    """
    # The root is the user's own word: it may be reached by a link.
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
    """The descriptor of a folder in another, to be listed; the caller closes it."""
    return os.open(name, _LISTED, dir_fd=parent)


def open_file(root: str, path: str) -> int:
    """The descriptor of a regular file below `root`, to be read; the caller closes it.

    Raises OSError: ELOOP or ENOTDIR where a link is in the way, EINVAL where something else than a file stands there.
    """
    folder, _, name = path.rpartition("/")
    with opened_folder(root, folder) as parent:
        # To open a device is to use it already.
        _check(os.stat(name, dir_fd=parent, follow_symlinks=False), path)
        descriptor = os.open(name, _FILE, dir_fd=parent)
    try:
        _check(os.fstat(descriptor), path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def status(root: str, path: str) -> os.stat_result:
    """What stands at a path below `root`, be it a link. Raises OSError."""
    folder, _, name = path.rpartition("/")
    with opened_folder(root, folder) as parent:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)


def target(root: str, path: str) -> str | None:
    """The path below `root` of what the links in a path lead to; None where that lies outside. Raises OSError.

    It holds for this moment: what is opened by it is opened without following a link.
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
