"""`dev`: Dagster's UI and daemon as a child process, with DAGSTER_HOME set up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from vector_pipeline.cli.output import fail
from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.instance import dagster_home, open_instance
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.resources import SourceResource
from vector_pipeline.defs.runs import release_abandoned
from vector_pipeline.errors import ConfigurationError, PipelineError
from vector_pipeline.settings import Settings
from vector_pipeline.stages.pipeline import open_pipeline
from vector_pipeline.store.connection import Connection

# Dagster recommends another command of its own in place of `dagster dev`, to whoever runs ours.
OTHER_COMMAND = "ignore:Function `dev_command` is superseded"


def run_dev(settings: Settings, host: str, port: int) -> int:
    """Run `dagster dev` until it ends or is interrupted; returns its exit code.

    Raises ConfigurationError where the port is in use or the home cannot be written.
    """
    _refuse_used_port(host, port)
    build_definitions(settings)  # what is wrong with them is said here, and not only in the UI
    home = dagster_home(settings)
    fail("starting Dagster, which takes about ten seconds")
    # Held open so that the embedded server stays up between runs, and checked before Dagster starts.
    with open_pipeline(settings) as pipeline:
        with open_instance(settings) as instance, pipeline.database.connect(role="abandoned runs") as connection:
            release_abandoned(instance, Names(settings.name), connection)
            _warn_of_source(settings, connection)
        command = [
            str(Path(sys.executable).with_name("dagster")),
            "dev",
            "--module-name",
            "vector_pipeline.definitions",
            "--host",
            host,
            "--port",
            str(port),
            # What the daemon does every few seconds would drown what it finds and loads, which is still printed.
            "--log-level",
            "warning",
        ]
        # The settings travel by the environment; a relative home is the same folder for every process.
        environment = os.environ | {  # settings.py reads it; here it is only handed on
            "DAGSTER_HOME": str(home),
            "VECTOR_PIPELINE_HOME": str(settings.home.absolute()),
            "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), OTHER_COMMAND))),
        }
        # Set before it is started: a signal that is ignored here, as under nohup, would be ignored there as well.
        children: list[subprocess.Popen[bytes]] = []

        def end(*_: object) -> None:
            for running in children:
                running.terminate()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGHUP, end)
        # In a group of its own, so that Ctrl-C reaches it once, through here: twice would break off its own ending.
        child = subprocess.Popen(command, env=environment, process_group=0)
        children.append(child)
        try:
            _say_when_up(child, host, port)
            return child.wait()
        except KeyboardInterrupt:
            fail("ending; what runs is interrupted, and goes on from there the next time")
            child.terminate()
            child.wait()
            return 0


def _warn_of_source(settings: Settings, connection: Connection) -> None:
    """Say it here where there is nothing to load: in the UI it is said in the sensor's ticks."""
    try:
        SourceResource(settings.source).open(connection)
    except PipelineError as error:
        fail(f"{error}; the sensor goes on looking")


def _say_when_up(child: subprocess.Popen[bytes], host: str, port: int) -> None:
    while child.poll() is None:
        with suppress(OSError), socket.create_connection((host, port), 1.0):
            fail(f"the UI is at http://{host}:{port}; Ctrl-C ends it")
            return
        time.sleep(0.2)


def _refuse_used_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {host} cannot be used ({error.strerror}); choose another with --port"
            ) from error
