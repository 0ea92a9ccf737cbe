"""A pool of reading processes with limits. They are started when needed and used again.

A file that ends its process or exceeds its time is rejected with the reason, and the next file gets a new process. Files
that the process read before must not matter: after a crash or a lack of memory the file is tried again in a fresh
process, and only that result counts.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.child import NO_MEMORY
from vector_pipeline.formats.frames import LENGTH, document_from_json
from vector_pipeline.formats.kinds import INSTALL, Kind
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions

# The limit of time is in processor time, which does not depend on how busy the machine is. A reader that waits uses
# none, so there is also a limit by the clock.
WALL_SECONDS_PER_SECOND = 5.0

# The last output of a process that the limit of memory ended, from Rust, C++ or C.
_NO_ALLOCATION = re.compile(rb"memory allocation of|bad_alloc|out of memory", re.IGNORECASE)
_ERRORS = "errors"

_START = """
import sys
sys.path.extend(path for path in {path!r} if path not in sys.path)
from vector_pipeline.formats.child import main
main()
"""


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """The limits for reading one file: seconds of processor time and bytes of memory; and the number of processes."""

    seconds: float = 60.0
    memory: int = 1024 * 1024 * 1024
    processes: int = 1


class ReaderPool:
    """Reads files in processes, at most `processes` of the limits at once. Close it at the end."""

    def __init__(self, limits: ReaderLimits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.processes, thread_name_prefix="reading")
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def processes(self) -> int:
        """The most files that are read at once."""
        return self._limits.processes

    def submit(self, stream: BinaryIO, kind: Kind, options: ReaderOptions) -> Future[list[Document]]:
        """Begin to read a file of a kind. The future has the documents, or raises FileRejected.

        `stream` holds the plain bytes and must stay open until the future is done.
        """
        return self._threads.submit(self.read, stream, kind, options)

    def read(self, stream: BinaryIO, kind: Kind, options: ReaderOptions) -> list[Document]:
        """The documents of a file. Raises FileRejected."""
        if not kind.is_installed:
            raise FileRejected(_after_install())
        process = self._take()
        try:
            process.copy(stream)
            try:
                return process.read(kind, options)
            except _Ended as end:
                if end.is_final or process.is_fresh:
                    raise
            fresh = self._start()
            process.copy_to(fresh)
            process.close()
            process = fresh
            return process.read(kind, options)
        except _Ended as end:
            raise FileRejected(str(end)) from None
        finally:
            self._give_back(process)

    def close(self) -> None:
        """End all processes, also busy ones. Their files are neither rejected nor passed on."""
        with self._lock:
            self._closed = True
            processes = list(self._all)
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        self._threads.shutdown(wait=True)
        for process in processes:
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self) -> _Process:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._start()

    def _start(self) -> _Process:
        process = _Process(self._limits)
        with self._lock:
            self._all.add(process)
            if self._closed:
                process.kill()
        return process

    def _give_back(self, process: _Process) -> None:
        with self._lock:
            if process.is_usable and not self._closed:
                self._idle.append(process)
                return
            self._all.discard(process)
        process.close()


class _Ended(Exception):
    """A process did not reach the end of a file. The text is the end of a sentence about the file.

    `is_final` means that another process would fail too.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class _Process:
    """One reading process and its folder."""

    def __init__(self, limits: ReaderLimits) -> None:
        self._limits = limits
        self._folder = Path(tempfile.mkdtemp(prefix="vector_pipeline-reader-"))
        self._file = self._folder / "file"
        self._files = 0
        self._killed = False
        start = _START.format(path=[entry for entry in sys.path if entry])
        with (self._folder / _ERRORS).open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", start, self._folder, str(limits.memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self._folder,
                env=_environment(self._folder),
            )
        assert self._process.stdout is not None
        self._poll = select.poll()
        self._poll.register(self._process.stdout, select.POLLIN)

    @property
    def is_usable(self) -> bool:
        """Whether it can read another file."""
        return not self._killed and self._process.poll() is None

    @property
    def is_fresh(self) -> bool:
        """Whether it has read only one file so far."""
        return self._files <= 1

    def copy(self, stream: BinaryIO) -> None:
        """Copy a file that will be read next."""
        with self._file.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)

    def copy_to(self, other: _Process) -> None:
        """Move the file to another process."""
        self._file.replace(other._file)

    def read(self, kind: Kind, options: ReaderOptions) -> list[Document]:
        """The documents of the file. Raises FileRejected, and _Ended if the process does not survive it.

        Raises OSError if something else ended the process.
        """
        self._files += 1
        return list(self._answered(kind, options))

    def _answered(self, kind: Kind, options: ReaderOptions) -> Iterator[Document]:
        deadline = time.monotonic() + self._limits.seconds * WALL_SECONDS_PER_SECOND
        request = {
            "path": str(self._file),
            "reader": kind.reader,
            "options": asdict(options),
            "seconds": self._limits.seconds,
        }
        self._ask(orjson.dumps(request) + b"\n")
        received = 0
        while True:
            answer, size = self._frame(deadline)
            received += size
            if received > self._limits.memory:
                self.kill()
                raise _Ended(self._no_memory())
            if "document" in answer:
                yield document_from_json(answer["document"])
                continue
            if answer["rejected"] == NO_MEMORY:
                self.kill()
                raise _Ended(self._no_memory())
            if answer["retire"]:
                self._process.wait()
            if answer["rejected"] is not None:
                raise FileRejected(answer["rejected"])
            return

    def _ask(self, request: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _frame(self, deadline: float) -> tuple[dict[str, Any], int]:
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size, deadline))
        if length > self._limits.memory:
            self.kill()
            raise _Ended(self._no_memory())
        answer: dict[str, Any] = orjson.loads(self._exactly(length, deadline))
        return answer, length

    def _exactly(self, size: int, deadline: float) -> bytes:
        assert self._process.stdout is not None
        out = self._process.stdout.fileno()
        data = bytearray()
        while len(data) < size:
            if not self._poll.poll(1_000 * max(0.0, deadline - time.monotonic())):
                self.kill()
                raise _Ended(self._no_time(), is_final=True)
            piece = os.read(out, min(size - len(data), 1 << 20))
            if not piece:
                raise self._died()
            data += piece
        return bytes(data)

    def _died(self) -> _Ended:
        """The error for the way in which the process ended."""
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return _Ended(self._no_time(), is_final=True)
        if code == -signal.SIGKILL:
            raise OSError("its reader was killed, as the system does where memory runs out")
        if code == -signal.SIGXFSZ or _NO_ALLOCATION.search(self._last_words()):
            return _Ended(self._no_memory())
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return _Ended(
            f"ends its reader ({how}): it is damaged, or made to do so; save it again with the program that wrote it, "
            "or leave it out with VECTOR_PIPELINE_EXCLUDE"
        )

    def _last_words(self) -> bytes:
        with (self._folder / _ERRORS).open("rb") as errors:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4_096))
            return errors.read()

    def _no_time(self) -> str:
        return (
            f"takes more than {self._limits.seconds:g} s to read; raise VECTOR_PIPELINE_READER_SECONDS, or leave it out "
            "with VECTOR_PIPELINE_EXCLUDE"
        )

    def _no_memory(self) -> str:
        return (
            f"takes more than {self._limits.memory:,} bytes of memory to read; raise VECTOR_PIPELINE_READER_MEMORY, or "
            "leave it out with VECTOR_PIPELINE_EXCLUDE"
        )

    def kill(self) -> None:
        """End it at once."""
        self._killed = True
        self._process.kill()

    def close(self) -> None:
        """End it, and remove its folder."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _environment(folder: Path) -> dict[str, str]:
    """The environment of a process: no key and no password, and one thread for each library."""
    passed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    threads = dict.fromkeys(("RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    return {**passed, **threads, "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C.UTF-8"}


def _after_install() -> str:
    """The reason for a file whose reader is not installed."""
    return f"is of a kind that is read after `{INSTALL}`"
