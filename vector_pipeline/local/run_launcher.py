"""A run launcher for `dev`: runs begin in processes that have imported everything.

Dagster's own launcher starts a new Python for each run, which imports Dagster and this package for longer than a small
arrival takes. Here the process of a run is forked from one that has imported them and does nothing else (a "fork
server" of Python's multiprocessing). It then executes the same command as Dagster's launchers for containers:
`dagster api execute_run`. Whatever needs another Python, and all of it in a version of Dagster that lacks this command,
is left to Dagster's own launcher.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
import dagster as dg

from vector_pipeline.errors import one_line

if TYPE_CHECKING:
    # Names that are not public in Dagster are imported where they are used, because dagster.yaml names this module.
    from dagster._core.launcher.base import LaunchRunContext
    from dagster._core.origin import JobPythonOrigin
    from dagster._serdes import ConfigurableClassData

# Imported by the process that the others are forked from.
PRELOADED = "vector_pipeline.local.preloaded"

# The tag of a run with the file that its process holds locked. Whoever finds it locked can send that process a signal.
PROCESS_FILE = "vector_pipeline/process_file"

# A process is forked within a moment; the first waits for the imports.
START_SECONDS = 60.0


class WarmRunLauncher(dg.DefaultRunLauncher):
    """Launches runs in processes that are forked from one that has imported everything."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOADED])
        # The processes are started one after the other: the first start of all starts the fork server.
        self._starting = threading.Lock()

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Create it from Dagster's configuration."""
        return cls(inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the process of a run. Raises DagsterLaunchFailedError if it ends before it begins to work."""
        run = context.dagster_run
        origin = run.job_code_origin
        arguments = None
        if origin is not None and origin.executable_path == sys.executable:
            arguments = _arguments(self._instance, origin, run.run_id)
        if arguments is None:
            super().launch_run(context)
            return
        place = Path(self._instance.root_directory) / "processes" / run.run_id
        place.parent.mkdir(exist_ok=True)
        self._instance.add_run_tags(run.run_id, {PROCESS_FILE: str(place)})
        ours, theirs = self._context.Pipe(duplex=False)
        # A daemonic process is ended when the daemon ends, as by `dev`.
        process = self._context.Process(target=execute, args=(arguments, str(place), theirs), daemon=True)
        with self._starting:
            process.start()
        theirs.close()
        if not _has_begun(ours):
            raise dg.DagsterLaunchFailedError(f"the process of run {run.run_id} ended before it began")

    def terminate(self, run_id: str) -> bool:
        """Ask the process of a run to end; returns whether there was one."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if PROCESS_FILE not in run.tags:
            ended: bool = super().terminate(run_id)  # type: ignore[no-untyped-call]
            return ended
        self._instance.report_run_canceling(run)
        process = process_of(Path(run.tags[PROCESS_FILE]))
        if process is None:
            return False
        os.kill(process, signal.SIGINT)
        return True


def _arguments(instance: dg.DagsterInstance, origin: JobPythonOrigin, run_id: str) -> str | None:
    """The argument of `dagster api execute_run`; None if this version of Dagster has no such command."""
    try:
        from dagster._cli.api import execute_run_command  # noqa: F401 (the process of the run imports it)
        from dagster._grpc.types import ExecuteRunArgs
        from dagster._serdes import serialize_value
    except ImportError:
        return None
    return serialize_value(ExecuteRunArgs(origin, run_id, instance.get_ref()))


def _has_begun(pipe: Connection) -> bool:
    try:
        return pipe.poll(START_SECONDS) and bool(pipe.recv_bytes())
    except EOFError:
        return False
    finally:
        pipe.close()


def process_of(place: Path) -> int | None:
    """The process that holds a file locked; None if there is none. The lock ends with the process."""
    try:
        with place.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (FileNotFoundError, ValueError):
        pass
    return None


def execute(arguments: str, place: str, begun: Connection) -> None:
    """Execute a run in this process, which was forked for it. A run that cannot even be loaded is reported as failed."""
    from dagster._cli.api import execute_run_command

    # Its own processes must not keep the lock, so the file is closed in them (PEP 446).
    with Path(place).open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(str(os.getpid()))
        file.flush()
        begun.send_bytes(b"begun")
        begun.close()
        try:
            execute_run_command.main([arguments], standalone_mode=False)
        except click.Abort:
            pass  # Dagster has noted that the run was interrupted
        except Exception as error:
            _report_failed(arguments, error)
            raise
        finally:
            Path(place).unlink(missing_ok=True)


def _report_failed(arguments: str, error: Exception) -> None:
    from dagster._grpc.types import ExecuteRunArgs
    from dagster._serdes import deserialize_value

    found = deserialize_value(arguments, ExecuteRunArgs)
    assert found.instance_ref is not None
    with dg.DagsterInstance.from_ref(found.instance_ref) as instance:
        run = instance.get_run_by_id(found.run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, f"Its process could not run it: {one_line(error)}")
