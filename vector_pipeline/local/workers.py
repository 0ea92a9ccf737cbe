"""Processes that run arrivals beside this one, where a load keeps several processors busy.

    Turns ─► arrival ─► its run in this process
    Turns ─► arrival ─► a thread of `Workers` ── the arrival ──► `worker.work`, in a process of its own
                                      ◄── lines, progress, a report ──

A worker ends with its pipe, so it does not outlive this process. This process runs what a worker leaves behind.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from vector_pipeline.embedding.providers.embedded import EMBEDDED_MODEL, KOREAN_MODEL
from vector_pipeline.errors import one_line
from vector_pipeline.local.beside import InstancePlace
from vector_pipeline.local.report import IngestReport
from vector_pipeline.local.turns import Turns
from vector_pipeline.local.worker import Assignment, Ended, work
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store.embedded.machine import free_memory_mb, processors

# A load takes up to so many MB in each process (docs/benchmarks/scale.md).
PROCESS_MB = 700

# A worker needs about two seconds to begin, in which this process may load a small arrival.
MIN_ARRIVALS = 3

# An interrupted run stores what it paid for, and then ends.
END_SECONDS = 30.0


def default_processes(model: str, arrivals: int) -> int:
    """The number of processes that load so many arrivals, this one among them.

    Only the fast embedded models are limited by what one process can do. An API is slower than that, and
    multilingual-e5-small-q4 uses all processors by itself.
    """
    if model not in (EMBEDDED_MODEL, KOREAN_MODEL) or arrivals < MIN_ARRIVALS:
        return 1
    return max(1, min(processors(), arrivals, free_memory_mb() // PROCESS_MB))


class Workers:
    """Starts worker processes while arrivals are run, and collects what they report."""

    def __init__(
        self, pipeline: Pipeline, place: InstancePlace | None, processes: int, say: Callable[[str], None]
    ) -> None:
        """`processes` counts this process too, so one needs no worker."""
        self._pipeline = pipeline
        self._assignment = Assignment(pipeline.settings, place, processes, gc.get_threshold())
        self._say = say
        self.unreported: list[str] = []
        """Arrivals of workers that ended without a report of them, as one that is killed does."""

    @contextmanager
    def running(self, turns: Turns, report: IngestReport) -> Iterator[list[str]]:
        """Run arrivals in workers until the turns end, and add to the report what they did.

        Yields a list, which has the arrivals that workers left behind once the block has ended. After an error inside
        the block the workers are interrupted, and what they had paid for is reported too.
        """
        workers: list[_Worker] = []
        left: list[str] = []
        try:
            for _ in range(self._assignment.processes - 1):
                workers.append(self._started(turns.beside()))
            yield left
            for worker in workers:
                worker.thread.join()
        except BaseException:
            for worker in workers:
                worker.interrupt()
            raise
        finally:
            for worker in workers:
                worker.end()
                left += worker.left
                self.unreported += worker.unreported
                for done in worker.reports:
                    report.include(done)

    def _started(self, turns: Turns) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(self._assignment, theirs), daemon=True)
        # The process inherits the mask until it is ready, so that a Ctrl-C does not end it in the middle of its imports.
        # What multiprocessing starts before it unblocks the signal again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        worker = _Worker(process, ours, turns, self._pipeline, self._say)
        worker.thread.start()
        return worker


@dataclass(slots=True)
class _Worker:
    """A worker process, and the thread that gives it arrivals."""

    process: SpawnProcess
    pipe: Connection
    turns: Turns
    pipeline: Pipeline
    say: Callable[[str], None]
    reports: list[IngestReport] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    unreported: list[str] = field(default_factory=list)
    thread: threading.Thread = field(init=False)
    _is_interrupted: bool = False

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._drive, name="worker", daemon=True)

    def interrupt(self) -> None:
        """Interrupt the run that is under way, and the process."""
        self._is_interrupted = True
        self.process.terminate()

    def end(self) -> None:
        """Wait until both have ended."""
        self.process.join(END_SECONDS)
        if self.process.is_alive():
            self.process.kill()
        self.thread.join()
        self.pipe.close()

    def _drive(self) -> None:
        """Give arrivals to the process until none is left, or it ends."""
        try:
            with self.turns:
                for arrival in self.turns:
                    self.left.append(arrival)
                    if not self._has_run(arrival):
                        break
                    self.left.pop()
        except Exception as error:  # noqa: BLE001 (whatever it is, this process runs what is left)
            self._tell(f"a process beside this one gets no more arrivals: {one_line(error)}")
        finally:
            with suppress(OSError):
                self.pipe.send(None)

    def _has_run(self, arrival: str) -> bool:
        try:
            self.pipe.send(arrival)
            while True:
                match self.pipe.recv():
                    case str() as line:
                        self._tell(line)
                    case (str() as what, int() as amount):
                        with suppress(OSError):
                            self.pipeline.advance(what, amount)
                    case IngestReport() as done:
                        self.reports.append(done)
                        return True
                    case Ended() as ended:
                        self.reports.append(ended.report)
                        if ended.reason:
                            self._tell(
                                f"a process beside this one ended: {ended.reason}; its arrival {arrival} is run here"
                            )
                        return False
        except (EOFError, OSError):
            self.unreported.append(arrival)
            self.process.join(END_SECONDS)
            code = self.process.exitcode
            how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            if not self._is_interrupted:
                self._tell(f"a process beside this one ended ({how}); its arrival {arrival} is run here")
            return False

    def _tell(self, line: str) -> None:
        # If nobody reads the output any more, the process's own thread finds that out.
        with suppress(OSError):
            self.say(line)
