"""`dev`: Dagster's UI and daemon as a child process, with DAGSTER_HOME set up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import vector_pipeline
from vector_pipeline.cli.dagster_lines import DagsterLines
from vector_pipeline.cli.output import fail
from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.resources import SourceResource
from vector_pipeline.defs.runs import release_abandoned
from vector_pipeline.errors import ConfigurationError, PipelineError
from vector_pipeline.local.instance import dagster_home, open_instance
from vector_pipeline.local.own_config import bring_up_to_date
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import Settings, variable
from vector_pipeline.store.connection import Connection

# Dagster prints a recommendation to use another command than `dagster dev`.
OTHER_COMMAND = "ignore:Function `dev_command` is superseded"

# Dagster ends within two seconds after a signal.
ENDING_SECONDS = 15.0


def run_dev(settings: Settings, host: str, port: int) -> int:
    """Run `dagster dev` until it ends or is interrupted; returns its exit code.

    Raises ConfigurationError if the port is in use or the home cannot be written.
    """
    _refuse_used_port(host, port)
    build_definitions(settings)  # errors in them are shown here, and not only in the UI
    home = dagster_home(settings)
    try:
        if line := bring_up_to_date(home / "dagster.yaml"):
            fail(line)
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be updated: {error.strerror}") from error
    fail("starting Dagster, which takes about ten seconds")
    # Held open so that the embedded server stays up between runs, and checked before Dagster starts.
    with open_pipeline(settings) as pipeline:
        with open_instance(settings) as instance, pipeline.database.connect(role="abandoned runs") as connection:
            release_abandoned(instance, Names(settings.name), connection)
            _warn_of_source(settings, connection)
        command = [
            sys.executable,
            "-m",
            "vector_pipeline.local.services",
            "--module-name",
            "vector_pipeline.definitions",
            # Dagster puts this folder first on the path. The default would be the folder that `dev` is started in.
            "--working-directory",
            str(Path(vector_pipeline.__file__).parent.parent),
            "--host",
            host,
            "--port",
            str(port),
            # Without this, lines of the daemon every few seconds would hide what it finds and loads.
            "--log-level",
            "warning",
        ]
        environment = os.environ | _handed_on(settings) | {"DAGSTER_HOME": str(home)}
        # Not in the folder that `dev` is started in: its modules and its .env must not be run.
        return run_until_ended(command, environment, f"http://{host}:{port}", (host, port), folder=home)


def _handed_on(settings: Settings) -> dict[str, str]:
    """Variables for Dagster's processes: Python's, and settings with paths, which are made absolute."""
    found = {
        variable("home"): str(settings.home.absolute()),
        "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), OTHER_COMMAND))),
        "PYTHONSAFEPATH": "1",
    }
    for name, places in (("source", settings.sources), ("storage", (settings.storage,))):
        if any(places):
            found[variable(name)] = "\n".join(_absolute(place) for place in places if place)
    return found


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).expanduser().absolute())


def run_until_ended(
    command: list[str],
    environment: dict[str, str],
    url: str,
    address: tuple[str, int],
    *,
    folder: Path | None = None,
) -> int:
    """Run a command in a folder until it ends or is interrupted, and end all its processes; returns the exit code."""
    ending = threading.Event()
    children: list[subprocess.Popen[bytes]] = []

    def end(*_: object) -> None:
        ending.set()
        for running in children:
            running.terminate()

    # Set before the child is started, because the child inherits ignored signals, for example under nohup.
    for sent in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sent, end)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # SIGINT is ignored in the background of a script. Dagster handles SIGTERM like SIGINT and would never end.
        signal.signal(signal.SIGINT, lambda *_: None)
    # In a process group of its own, so that Ctrl-C reaches it once, from here. Twice would interrupt its shutdown.
    child = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0
    )
    children.append(child)
    threading.Thread(target=_pass_on, args=(child, ending), daemon=True).start()
    try:
        while child.poll() is None and not _answers(address):
            time.sleep(0.2)
        if child.poll() is None:
            fail(f"the UI is at {url}; Ctrl-C ends it")
        code = _wait(child, ending)
    except KeyboardInterrupt:
        fail("ending; what was paid for and loaded is kept, and the next start continues the runs that are under way")
        end()
        code = _wait(child, ending)
    finally:
        _end_group(child.pid)
    if ending.is_set():
        return 0
    fail(f"Dagster ended unexpectedly with exit code {code}; what was loaded is kept, and a new start continues there")
    return code


def _wait(child: subprocess.Popen[bytes], ending: threading.Event) -> int:
    """Wait for the exit code of a child; 0 if it was asked to end and takes too long. It is killed afterwards."""
    while True:
        try:
            return child.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            if ending.is_set():
                return 0


def _pass_on(child: subprocess.Popen[bytes], ending: threading.Event) -> None:
    """Print the child's output without stack traces, until it is asked to end: then runs only report interruptions."""
    assert child.stdout is not None
    lines = DagsterLines()
    for line in child.stdout:
        shown = lines.feed(line.decode("utf-8", "replace").rstrip("\r\n"))
        if not ending.is_set():
            _show(shown)
    _show(lines.end())


def _show(lines: list[str]) -> None:
    for line in lines:
        sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _end_group(group: int) -> None:
    """End the runs. Dagster does not end runs that are under way, and they would continue to spend money."""
    for sent, seconds in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + seconds
        try:
            os.killpg(group, sent)
            while time.monotonic() < deadline:
                time.sleep(0.1)
                os.killpg(group, 0)
        except ProcessLookupError:
            return


def _answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1.0).close()
    except OSError:
        return False
    return True


def _warn_of_source(settings: Settings, connection: Connection) -> None:
    """Print a warning if there is nothing to load. The UI shows it only in the sensor's ticks."""
    try:
        SourceResource(settings.sources).open(connection).require_all()
    except PipelineError as error:
        fail(f"{error}; the sensor keeps checking")


def _refuse_used_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {host} cannot be used ({error.strerror}); choose another with --port"
            ) from error
