"""Signals other than Ctrl-C: they end `ingest` as it does, and what the process was started to ignore stays ignored."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vector_pipeline_tests.support.ingesting import start, write_notes
from vector_pipeline_tests.support.openai_server import ServerConfig, serve


@pytest.mark.parametrize("sent", [signal.SIGHUP, signal.SIGTERM])
def test_what_was_asked_is_stored_and_not_paid_again(
    tmp_path: Path, fresh_database_url: str, sent: signal.Signals
) -> None:
    notes = write_notes(tmp_path / "notes", 2)
    with serve(ServerConfig(latency=2.0)) as server:
        process = start(tmp_path / "home", fresh_database_url, server.url, notes)
        server.wait_for_requests(1)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "paid until then: 1 text" in errors
        again = start(tmp_path / "home", fresh_database_url, server.url, notes)
        again.communicate(timeout=60)
        assert again.returncode == 0
        assert (server.seen.requests, server.seen.paid_twice) == (2, 0)


def test_nohup_stays_in_effect(tmp_path: Path, fresh_database_url: str) -> None:
    notes = write_notes(tmp_path / "notes", 1)
    with serve(ServerConfig(latency=1.0)) as server:
        process = start(tmp_path / "home", fresh_database_url, server.url, notes, ignores="HUP")
        server.wait_for_requests(1)
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "1 loaded" in out


def test_a_watch_in_the_background_of_a_script_ends_at_sigterm_and_not_at_ctrl_c(
    tmp_path: Path, fresh_database_url: str
) -> None:
    notes = write_notes(tmp_path / "notes", 1)
    with serve() as server:
        process = start(tmp_path / "home", fresh_database_url, server.url, notes, "--watch", ignores="INT")
        assert process.stdout is not None
        assert "1 loaded" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        (notes / "later.txt").write_text("It was written after the Ctrl-C.")
        assert "1 loaded" in process.stdout.readline()
        process.terminate()
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_while_modules_are_imported_is_one_line() -> None:
    command = [sys.executable, "-m", "vector_pipeline.cli", "status"]
    process = subprocess.Popen(command, text=True, stderr=subprocess.PIPE, start_new_session=True)
    # One of the first modules that the commands import.
    while "_pydantic_core" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "vector-pipeline: interrupted\n")
