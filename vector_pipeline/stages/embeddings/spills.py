"""Spills: paid answers in files under the home, which the next run stores; and the room on disk for them.

A file holds the hashes, the vectors and the tokens of one answer in numpy's format (.npz). Its folder has the name of
the space.
"""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote, unquote

import numpy as np

from vector_pipeline.embedding.providers.base import Vectors
from vector_pipeline.embedding.values import Answer
from vector_pipeline.errors import StorageError
from vector_pipeline.settings import Settings

# Bytes of an .npz beside its arrays, and of a text beside its vector.
BYTES_BESIDES = 4_096
BYTES_PER_TEXT = 32

# Room that is freed at the end of a run, so that its last events can be written.
BYTES_FOR_OTHERS = 1 << 20

# For a model whose dimensions are not known yet: no model that can be loaded has more.
MAX_DIMENSIONS = 4_096


@dataclass(frozen=True, slots=True)
class Spilled:
    """An answer from a file. `vectors` has the shape (len(hashes), dimensions), float32. `tokens` were billed."""

    path: Path
    hashes: list[bytes]
    vectors: Vectors
    tokens: int

    @property
    def space(self) -> str:
        """The name of its space, or of its model if there was no space yet."""
        return unquote(self.path.parent.name)


class UnreadableSpill(Exception):
    """A file without a valid answer."""


def folder_of(settings: Settings) -> Path:
    """The folder of spilled answers."""
    return settings.home.absolute() / "spilled"


def spilled_files(settings: Settings) -> list[Path]:
    """The files of spilled answers, in a fixed order."""
    return sorted(folder_of(settings).glob("*/*.npz"))


def read_spilled(path: Path) -> Spilled:
    """Read the answer in a file. Raises UnreadableSpill with the reason, or OSError if the file cannot be read."""
    if path.is_fifo():
        raise UnreadableSpill("it is a pipe")  # opening it would wait for ever
    try:
        with np.load(path, allow_pickle=False) as kept:
            hashes, vectors = kept["hashes"], kept["vectors"]
            # Files written before 2026-11-26 have no billed tokens.
            tokens = int(kept["tokens"]) if "tokens" in kept else 0
    except OSError:
        raise
    except Exception as error:
        raise UnreadableSpill(f"{type(error).__name__}") from error
    if hashes.ndim != 1 or hashes.dtype != np.dtype("V16"):
        raise UnreadableSpill("its hashes are invalid")
    if vectors.ndim != 2 or vectors.dtype != np.float32 or len(vectors) != len(hashes) or not len(hashes):
        raise UnreadableSpill("its vectors do not belong to its hashes")
    if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()) or tokens < 0:
        raise UnreadableSpill("its vectors hold NaN or infinity, or are zero")
    return Spilled(path, [bytes(key) for key in hashes], vectors, tokens)


def set_aside(path: Path) -> None:
    """Rename a file so that no run tries it again."""
    with suppress(OSError):
        path.rename(path.with_name(f"{path.name}.unreadable"))


def remove_abandoned(settings: Settings) -> None:
    """Remove the room that killed runs had reserved: files whose lock is free."""
    for path in folder_of(settings).glob("*/*.partial"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)


@dataclass(slots=True)
class _Slot:
    """A reserved file of some size. It is open and locked while its run lives."""

    size: int
    path: Path
    file: BinaryIO


class Reserve:
    """Room on disk for the answers of requests under way, so that they can be kept even if the disk becomes full.

    It consists of files of the needed size, which answers overwrite. Use it as a context manager. Threads may share it.
    """

    def __init__(self, settings: Settings, space: str, dimensions: int | None) -> None:
        self._folder = folder_of(settings) / quote(space, safe="")
        self._bytes_per_text = 4 * (dimensions or MAX_DIMENSIONS) + BYTES_PER_TEXT
        self._lock = threading.Lock()
        self._free: list[_Slot] = []
        self._needed = 0
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            for slot in self._free:
                slot.path.unlink(missing_ok=True)
                slot.file.close()
            self._free.clear()
            with suppress(OSError):  # not empty, or never created
                self._folder.rmdir()
                self._folder.parent.rmdir()

    def hold(self, texts: int) -> None:
        """Reserve room for an answer with this many texts. Raises StorageError if there is none."""
        with self._lock:
            if self._closed:
                return
            wanted = texts * self._bytes_per_text
            room = sum(slot.size for slot in self._free)
            if room < self._needed + wanted:
                self._free.append(self._allocated(wanted + (BYTES_BESIDES if self._free else BYTES_FOR_OTHERS)))
            self._needed += wanted

    def release(self, texts: int) -> None:
        """Release the room for an answer with this many texts: it was stored, or will not come."""
        with self._lock:
            self._needed = max(0, self._needed - texts * self._bytes_per_text)

    def write(self, answer: Answer) -> Path:
        """Write an answer to a file, in the reserved room. Raises OSError."""
        needed = answer.vectors.nbytes + len(answer.inputs) * BYTES_PER_TEXT + BYTES_BESIDES
        with self._lock:
            large = [slot for slot in self._free if slot.size >= needed]
            slot = min(large, key=lambda slot: slot.size, default=None)
            if slot is not None:
                self._free.remove(slot)
        slot = slot or self._opened(needed)
        with slot.file as sink:
            keys = np.frombuffer(b"".join(i.content_hash for i in answer.inputs), dtype="V16")
            np.savez(sink, hashes=keys, vectors=answer.vectors, tokens=np.int64(answer.tokens))
            sink.truncate()
            sink.flush()
            os.fsync(sink.fileno())
        return slot.path.rename(slot.path.with_suffix(".npz"))

    def _opened(self, size: int) -> _Slot:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{uuid.uuid4().hex}.partial"
        file = path.open("wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        return _Slot(size, path, file)

    def _allocated(self, size: int) -> _Slot:
        try:
            slot = self._opened(size)
        except OSError as error:
            raise self._no_room(size, error) from error
        try:
            _allocate(slot.file.fileno(), size)
        except OSError as error:
            slot.path.unlink(missing_ok=True)
            slot.file.close()
            raise self._no_room(size, error) from error
        return slot

    def _no_room(self, size: int, error: OSError) -> StorageError:
        return StorageError(
            f"{self._folder} has no room for {size:,} bytes ({error.strerror}): paid answers could not be kept if "
            "Postgres goes away, so nothing more is sent; make room, and run again"
        )


def _allocate(descriptor: int, size: int) -> None:
    """Allocate the size of a file on disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    for block in _zeros(size):
        os.write(descriptor, block)


def _zeros(size: int) -> Iterator[bytes]:
    block = bytes(1 << 20)
    for begin in range(0, size, len(block)):
        yield block[: min(len(block), size - begin)]
