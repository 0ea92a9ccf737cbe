"""Readers that do what libraries do to a process that reads a hostile file."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from typing import BinaryIO

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions


def read_hostile(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """Do what the file says: its first word is the deed."""
    deed, _, rest = stream.read().decode().partition(" ")
    if deed == "crash":
        ctypes.string_at(0)
    elif deed == "exit":
        os._exit(3)
    elif deed == "loop":
        while True:
            pass
    elif deed == "sleep":
        time.sleep(3_600)
    elif deed == "fill":
        pieces = [bytearray(1 << 24)]
        while True:
            pieces.append(bytearray(1 << 24))
    elif deed == "flood":
        for number in range(1_000_000):
            yield Document("x" * 100_000, record=str(number))
    elif deed == "print":
        os.write(1, b"not an answer")
    elif deed == "leak":
        _LEAKED.append(bytearray(int(rest)))
    elif deed == "reject":
        raise FileRejected("is refused; do something about it")
    elif deed == "fail":
        raise LookupError("a reader's own mistake")
    elif deed == "environment":
        rest = " ".join(f"{name}={value}" for name, value in os.environ.items())
    yield Document(rest or "nothing", {"process": os.getpid()}, places={"pages": ((0, 1), (3, 2))})


_LEAKED: list[bytearray] = []
