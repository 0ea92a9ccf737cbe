"""Machines of a test: processes with an environment of their own, and nothing of this one's but the interpreter."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PYTHON = (sys.executable, "-m")
REPOSITORY = Path(__file__).parents[3]


def free_port(address: str) -> int:
    """A port of a loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@dataclass
class Machine:
    """A folder, which is its home and where Dagster's is; an environment; and processes."""

    folder: Path
    variables: Mapping[str, str]
    processes: list[psutil.Popen] = field(default_factory=list)

    def start(self, *command: str) -> None:
        """Start a process, the leader of a group of its own."""
        home = self.folder / "home"
        for name in ("home", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),  # what an image would have
            "HOME": str(home),
            "TMPDIR": str(self.folder / "tmp"),
            "VECTOR_PIPELINE_HOME": str(home / "pipeline"),
            "DAGSTER_HOME": str(self.folder),
            **self.variables,
        }
        with (self.folder / "log").open("ab") as log:
            started = psutil.Popen(
                [*PYTHON, *command],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes.append(started)

    def kill(self) -> None:
        """End all its processes at once, as the loss of the machine does."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)


@contextmanager
def machine(folder: Path, dagster: str, variables: Mapping[str, str], *commands: Sequence[str]) -> Iterator[Machine]:
    """A machine with a dagster.yaml and processes, which are killed at the end."""
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(dagster)
    made = Machine(folder, variables)
    try:
        for command in commands:
            made.start(*command)
        yield made
    finally:
        made.kill()
