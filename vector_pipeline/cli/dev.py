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

# Dagster recommends another command of its own in place of `dagster dev`, to whoever runs ours.
OTHER_COMMAND = "ignore:Function `dev_command` is superseded"

# Dagster ends within two seconds of being told to.
ENDING_SECONDS = 15.0


def run_dev(settings: Settings, host: str, port: int) -> int:
    """Run `dagster dev` until it ends or is interrupted; returns its exit code.

    Raises ConfigurationError where the port is in use or the home cannot be written.
    """
    _refuse_used_port(host, port)
    build_definitions(settings)  # what is wrong with them is said here, and not only in the UI
    home = dagster_home(settings)
    try:
        if said := bring_up_to_date(home / "dagster.yaml"):
            fail(said)
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be brought up to date: {error.strerror}") from error
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
            # Dagster puts this folder before all others on the path; else it would be the one that `dev` is started in.
            "--working-directory",
            str(Path(vector_pipeline.__file__).parent.parent),
            "--host",
            host,
            "--port",
            str(port),
            # What the daemon does every few seconds would drown what it finds and loads, which is still printed.
            "--log-level",
            "warning",
        ]
        environment = os.environ | _handed_on(settings) | {"DAGSTER_HOME": str(home)}
        # Not in the folder that `dev` is started in: its modules, and its .env, are not ours to run.
        return run_until_ended(command, environment, f"http://{host}:{port}", (host, port), folder=home)


def _handed_on(settings: Settings) -> dict[str, str]:
    """Variables of Dagster's processes: Python's, and settings that name a place, which is the same for all."""
    found = {
        variable("home"): str(settings.home.absolute()),
        "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), OTHER_COMMAND))),
        "PYTHONSAFEPATH": "1",
    }
    for name, place in (("source", settings.source), ("storage", settings.storage)):
        if place and "://" not in place:
            found[variable(name)] = str(Path(place).expanduser().absolute())
    return found


def run_until_ended(
    command: list[str],
    environment: dict[str, str],
    url: str,
    address: tuple[str, int],
    *,
    folder: Path | None = None,
) -> int:
    """Run it in a folder until it ends or is to end, and then leave nothing of it behind; returns the exit code."""
    ending = threading.Event()
    children: list[subprocess.Popen[bytes]] = []

    def end(*_: object) -> None:
        ending.set()
        for running in children:
            running.terminate()

    # Set before the child is started: a signal that is ignored here, as under nohup, would be ignored there as well.
    for sent in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sent, end)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in the background of a script. Dagster takes SIGTERM for what SIGINT is to it, and would never end.
        signal.signal(signal.SIGINT, lambda *_: None)
    # In a group of its own, so that Ctrl-C reaches it once, through here: twice would break off its own ending.
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
        fail("ending; what was paid for and loaded is kept, and runs that are under way are taken up the next time")
        end()
        code = _wait(child, ending)
    finally:
        _end_group(child.pid)
    if ending.is_set():
        return 0
    fail(f"Dagster ended by itself, with exit code {code}; what was loaded is kept, and a new start goes on from there")
    return code


def _wait(child: subprocess.Popen[bytes], ending: threading.Event) -> int:
    """Its exit code; 0 where it was told to end and takes too long over it, to be killed then."""
    while True:
        try:
            return child.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            if ending.is_set():
                return 0


def _pass_on(child: subprocess.Popen[bytes], ending: threading.Event) -> None:
    """Print what it prints, less stack traces, until it is to end: then runs only complain of being interrupted."""
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
    """End the runs: Dagster leaves those that are under way to themselves, and they would go on to spend money."""
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
    """Say it here where there is nothing to load: in the UI it is said in the sensor's ticks."""
    try:
        SourceResource(settings.source).open(connection)
    except PipelineError as error:
        fail(f"{error}; the sensor goes on looking")


def _refuse_used_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {host} cannot be used ({error.strerror}); choose another with --port"
            ) from error
