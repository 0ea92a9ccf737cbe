"""A process that reads files for its parent, one after another, within limits that the system enforces.

A request is a line of JSON on its standard input. The answer on its standard output consists of frames (`frames`): one
for each document, and one at the end of the file. The process ends when its input ends.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from vector_pipeline.errors import FileRejected, one_line
from vector_pipeline.formats.frames import document_to_json, write_frame
from vector_pipeline.formats.kinds import KINDS, load_reader
from vector_pipeline.formats.packages import PASSWORD
from vector_pipeline.formats.sniffing import sniffed
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers import NO_TEXT
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.markup import read_html

NO_MEMORY = "no memory"
"""The reason in an answer if the limit of memory was reached."""

# After this many files, or if it uses this share of its limit, a process is replaced, because libraries leak memory.
_MAX_FILES = 500
_MAX_SHARE = 0.4


def main() -> None:
    """Read files until the input ends. Arguments: the process's own folder, and its memory in bytes."""
    folder, memory = Path(sys.argv[1]), int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "wb")
    # Output of a library must not mix with the answers.
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    taken = _limit_memory(memory)
    for number, line in enumerate(sys.stdin.buffer, 1):
        request = orjson.loads(line)
        _limit_seconds(request["seconds"])
        end = _read(request, answers)
        end["retire"] = number >= _MAX_FILES or _address_space() - taken > _MAX_SHARE * memory
        write_frame(answers, end)
        if end["retire"]:
            return
    # The parent has ended and cannot remove the folder.
    shutil.rmtree(folder, ignore_errors=True)


def _read(request: dict[str, Any], answers: BinaryIO) -> dict[str, Any]:
    options = ReaderOptions(**request["options"])
    try:
        with Path(request["path"]).open("rb") as stream:
            for document in documents_of(stream, request["reader"], options):
                write_frame(answers, {"document": document_to_json(document)})
    except FileRejected as rejection:
        return {"rejected": str(rejection)}
    except MemoryError:
        return {"rejected": NO_MEMORY}
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in a library is no Exception, and must not end the process
        return {"rejected": f"could not be read ({type(error).__name__}: {one_line(error)})"}
    return {"rejected": None}


def documents_of(stream: BinaryIO, reader: str, options: ReaderOptions) -> Iterator[Document]:
    """The documents of a file. If it is of another kind than its name says, it is read as what it is."""
    if not stream.read(1):
        raise FileRejected(NO_TEXT)
    stream.seek(0)
    found = sniffed(stream)
    if found == "encrypted":
        raise FileRejected(PASSWORD)
    if found == "html":
        return read_html(stream, options)
    kind = next((kind for kind in KINDS if kind.name == found and kind.reader), None)
    return load_reader(kind.reader if kind is not None else reader)(stream, options)


def _limit_memory(memory: int) -> int:
    """Limit the memory of the process to what it has now and this many bytes; returns what it has now."""
    taken = _address_space()
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory, resource.RLIM_INFINITY))
    return taken


def _limit_seconds(seconds: float) -> None:
    """Limit the processor time of the process from now on."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(usage.ru_utime + usage.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _address_space() -> int:
    """The bytes of address space, which the system limits; 0 if it does not report them."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()
