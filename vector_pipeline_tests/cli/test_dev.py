"""`dev` ends whole: Dagster would leave runs that are under way to themselves, and they would go on to spend money."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from vector_pipeline_tests.support.dev import wait_for

# A process with one below it, as `dagster dev` has its code server and that has the runs.
CHILD = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # as Dagster has it
below = subprocess.Popen(["sleep", "600"])
print("some line", flush=True)
pathlib.Path(sys.argv[1]).write_text(str(below.pid))
time.sleep(600)
"""
PARENT = """
import os, sys
from vector_pipeline.cli.dev import run_until_ended
command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
sys.exit(run_until_ended(command, dict(os.environ), "http://127.0.0.1:9", ("127.0.0.1", 9)))
"""


@pytest.mark.parametrize(
    ("ending", "in_the_background"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGTERM, True)],
)
def test_what_it_started_ends_with_it(tmp_path: Path, ending: signal.Signals, in_the_background: bool) -> None:
    told = tmp_path / "pid"
    command = [sys.executable, "-c", PARENT, CHILD, str(told)]
    # A script's `command &` is started with SIGINT ignored, and so would all be that it starts.
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"] if in_the_background else []
    parent = subprocess.Popen([*ignoring, *command], env=os.environ, stderr=subprocess.PIPE, text=True)
    below = psutil.Process(int(wait_for(lambda: told.exists() and told.read_text(), 30)))
    parent.send_signal(ending)
    _, said = parent.communicate(timeout=60)
    assert parent.returncode == 0
    assert "some line" in said
    assert "Traceback" not in said
    assert not below.is_running() or below.status() == psutil.STATUS_ZOMBIE


def test_what_ends_by_itself_is_said_and_its_code_handed_on(tmp_path: Path) -> None:
    child = "import sys; print('why it ended'); sys.exit(3)"
    command = [sys.executable, "-c", PARENT, child, str(tmp_path)]
    done = subprocess.run(command, env=os.environ, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "why it ended" in done.stderr
    assert "Dagster ended unexpectedly with exit code 3" in done.stderr
