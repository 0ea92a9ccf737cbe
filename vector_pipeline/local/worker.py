"""The process of a worker: it runs the arrivals that it receives, and sends what happens (see `workers`)."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import NoReturn

from vector_pipeline.errors import PipelineError, one_line
from vector_pipeline.local.arrival_runs import LocalRuns
from vector_pipeline.local.beside import InstancePlace
from vector_pipeline.local.instance import open_instance_in_process
from vector_pipeline.local.report import IngestReport
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker needs to know. Its limits of readers are a share of those of one process."""

    settings: Settings
    place: InstancePlace | None
    processes: int
    collect_after: tuple[int, int, int]
    """The thresholds of the garbage collector."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The last message of a worker that did not finish an arrival: what it did of it, and why it ended."""

    report: IngestReport
    reason: str = ""


Message = str | tuple[str, int] | IngestReport | Ended
"""A line; the kind of work done and its amount; what was done of an arrival, once its run has ended; or Ended."""


def work(assignment: Assignment, pipe: Connection) -> None:
    """Run arrivals until None comes or the pipe is closed. In the latter case the run under way is interrupted."""
    # A Ctrl-C on the terminal is for the process that started this one. It was blocked until now; to ignore it for a
    # moment drops one that has come meanwhile.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, _interrupt)
    gc.set_threshold(*assignment.collect_after)
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    arrivals = SimpleQueue[str | None]()
    threading.Thread(target=_receive, args=(pipe, arrivals), daemon=True).start()
    sending = threading.Lock()

    def send(message: Message) -> None:
        with sending, suppress(OSError):  # if nobody listens any more, an interruption is on its way
            pipe.send(message)

    report = IngestReport()
    try:
        with (
            open_pipeline(assignment.settings, progress=lambda what, amount: send((what, amount))) as pipeline,
            open_instance_in_process(assignment.settings, assignment.place) as instance,
        ):
            runs = LocalRuns(replace(pipeline, processes=assignment.processes), instance, send)
            while (arrival := arrivals.get()) is not None:
                report = IngestReport()
                runs.run_arrival(arrival, report)
                send(report)
                report = IngestReport()
    except KeyboardInterrupt:
        send(Ended(report))
    except Exception as error:  # noqa: BLE001 (whatever it is, the other process runs the arrival itself)
        send(Ended(report, str(error) if isinstance(error, PipelineError) else one_line(error)))


def _receive(pipe: Connection, arrivals: SimpleQueue[str | None]) -> None:
    try:
        while (arrival := pipe.recv()) is not None:
            arrivals.put(arrival)
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        arrivals.put(None)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
