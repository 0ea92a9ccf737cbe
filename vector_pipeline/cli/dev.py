"""`dev`: Dagster's UI and daemon as a child process, with DAGSTER_HOME set up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from vector_pipeline.cli.output import fail
from vector_pipeline.defs.instance import dagster_home, release_abandoned_runs
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import Settings
from vector_pipeline.stages.pipeline import open_pipeline


def run_dev(settings: Settings, host: str, port: int) -> int:
    """Run `dagster dev` until it ends or is interrupted; returns its exit code.

    Raises ConfigurationError where the port is in use or the home cannot be written.
    """
    _refuse_used_port(host, port)
    home = dagster_home(settings)
    # Held open so that the embedded server stays up between runs, and checked before Dagster starts.
    with open_pipeline(settings) as pipeline:
        release_abandoned_runs(settings, pipeline)
        command = [
            str(Path(sys.executable).with_name("dagster")),
            "dev",
            "--module-name",
            "vector_pipeline.definitions",
            "--host",
            host,
            "--port",
            str(port),
        ]
        fail(f"the UI comes up at http://{host}:{port} in about ten seconds; Ctrl-C ends it")
        # The settings travel by the environment; a relative home is the same folder for every process.
        environment = os.environ | {  # settings.py reads it; here it is only handed on
            "DAGSTER_HOME": str(home),
            "VECTOR_PIPELINE_HOME": str(settings.home.absolute()),
        }
        child = subprocess.Popen(command, env=environment)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            return child.wait()


def _refuse_used_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {host} cannot be used ({error.strerror}); choose another with --port"
            ) from error
