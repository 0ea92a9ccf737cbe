"""`ingest --processes`: arrivals are loaded by several processes, and one of them reports all of it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import psutil
import psycopg
import pytest

from vector_pipeline.local import turns
from vector_pipeline.local.turns import Turns
from vector_pipeline.local.workers import MIN_ARRIVALS, default_processes
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import EMBEDDED_MODELS
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import scan
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.locks import Lock, try_lock_named
from vector_pipeline_tests.support.ingesting import start, write_notes
from vector_pipeline_tests.support.openai_server import ServerConfig, serve

ARRIVALS = 8
SEVERAL = ("--processes", "3")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes", ARRIVALS)


def finished(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, errors = process.communicate(timeout=150)
    assert process.returncode == code, errors
    return out, errors


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children():
        if any("spawn_main" in word for word in child.cmdline()):
            found.append(child)
    return found


def wait_until(condition: Callable[[], object], seconds: float = 100.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def json_of(out: str) -> dict[str, Any]:
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_one_report_has_what_all_processes_did(tmp_path: Path, fresh_database_url: str, notes: Path) -> None:
    (notes / "3.txt").rename(notes / "3.ipynb")
    with serve(ServerConfig(latency=1.0)) as server:
        out, errors = finished(start(tmp_path / "home", fresh_database_url, server.url, notes, *SEVERAL, "--json"), 1)
        assert server.seen.paid_twice == 0
    report = json_of(out)
    assert (report["arrivals"], report["arrivals_elsewhere"]) == (ARRIVALS, 0)
    assert (report["files"]["loaded"], report["files"]["rejected"], report["files"]["pending"]) == (ARRIVALS - 1, 1, 0)
    assert (report["embedded"], report["rows"], report["chunks"]) == (ARRIVALS - 1, ARRIVALS - 1, ARRIVALS - 1)
    assert [file["source"] for file in report["rejected"]] == ["3.ipynb"]
    assert report["failures"] == []
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_killed_worker_leaves_its_arrival_to_the_others(tmp_path: Path, fresh_database_url: str, notes: Path) -> None:
    with serve(ServerConfig(latency=2.0)) as server:
        process = start(tmp_path / "home", fresh_database_url, server.url, notes, *SEVERAL)
        wait_until(lambda: server.seen.requests >= 3)
        workers_of(process)[0].kill()
        out, errors = finished(process)
    assert f"{ARRIVALS} loaded" in " ".join(out.split())
    assert "a process beside this one ended (SIGKILL); its arrival 2" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_what_a_worker_loaded_before_it_was_killed_is_reported(
    tmp_path: Path, fresh_database_url: str, notes: Path
) -> None:
    loaded = "SELECT count(*) FROM source_files WHERE status = 'loaded'"
    with serve(ServerConfig(latency=2.0)) as server, psycopg.connect(fresh_database_url, autocommit=True) as connection:
        process = start(tmp_path / "home", fresh_database_url, server.url, notes, *SEVERAL, "--json")
        wait_until(lambda: server.seen.requests >= 3)
        workers = workers_of(process)
        # This process has loaded one too. The workers are in the last steps of their first runs.
        while (row := connection.execute(loaded).fetchone()) is not None and row[0] < 3:
            time.sleep(0.005)
        for worker in workers:
            worker.kill()
        out, _ = finished(process)
    report = json_of(out)
    assert (report["arrivals"], report["files"]["loaded"], report["files"]["pending"]) == (ARRIVALS, ARRIVALS, 0)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(
    tmp_path: Path, fresh_database_url: str, notes: Path, sent: signal.Signals
) -> None:
    with serve(ServerConfig(latency=2.0)) as server:
        process = start(tmp_path / "home", fresh_database_url, server.url, notes, *SEVERAL)
        wait_until(lambda: server.seen.requests >= 3)
        workers = workers_of(process)
        assert len(workers) == 2
        process.send_signal(sent)
        _, errors = finished(process, 130 if sent == signal.SIGINT else -signal.SIGKILL)
        assert "Traceback" not in errors
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert alive == []
        out, _ = finished(start(tmp_path / "home", fresh_database_url, server.url, notes, *SEVERAL, "--json"))
        report = json_of(out)
        assert report["files"]["pending"] == 0
        if sent == signal.SIGINT:
            # Answers that were on their way were stored.
            assert server.seen.paid_twice == 0


@pytest.mark.slow
def test_what_fails_in_a_worker_is_reported_and_not_tried_by_each(
    tmp_path: Path, fresh_database_url: str, notes: Path
) -> None:
    with serve(ServerConfig(key="sk-other")) as server:
        out, errors = finished(start(tmp_path / "home", fresh_database_url, server.url, notes, *SEVERAL, "--json"), 1)
        assert server.seen.requests <= 2 * ARRIVALS
    report = json_of(out)
    assert report["arrivals"] == len(report["failures"]) == ARRIVALS
    assert report["files"]["pending"] == ARRIVALS
    assert "Traceback" not in errors


def test_only_a_fast_embedded_model_gets_several_processes_unasked() -> None:
    wordllama, multilingual, korean = EMBEDDED_MODELS
    assert default_processes("text-embedding-3-small", 100) == 1
    assert default_processes(multilingual, 100) == 1
    assert default_processes(wordllama, MIN_ARRIVALS - 1) == 1
    assert default_processes(wordllama, 100) == default_processes(korean, 100)
    assert 1 <= default_processes(wordllama, MIN_ARRIVALS) <= MIN_ARRIVALS


def test_an_arrival_is_not_dropped_if_postgres_goes_away_while_it_is_taken(
    pipeline: Pipeline, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = pipeline.settings.model_copy(update={"max_files_per_arrival": 1})
    pipeline = Pipeline(options, pipeline.database)
    arrivals = scan(pipeline.database, open_source(str(corpus)), pipeline.scan_options("cli")).arrivals
    ended: list[int] = []

    def lock(connection: Connection, lock: Literal[Lock.TURN], name: str) -> bool:
        taken = try_lock_named(connection, lock, name)
        if not ended:
            ended.append(connection.info.backend_pid)
            with pipeline.database.connect() as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (ended[0],))
        return taken

    monkeypatch.setattr(turns, "try_lock_named", lock)
    with Turns(pipeline.database, arrivals, lambda _: None) as taking:
        assert [arrival for arrival, _ in zip(taking, arrivals, strict=False)] == arrivals
    assert ended


def test_turns_beside_others_never_wait_and_take_no_arrival_twice(pipeline: Pipeline, corpus: Path) -> None:
    options = pipeline.settings.model_copy(update={"max_files_per_arrival": 1})
    pipeline = Pipeline(options, pipeline.database)
    arrivals = scan(pipeline.database, open_source(str(corpus)), pipeline.scan_options("cli")).arrivals
    with Turns(pipeline.database, arrivals, lambda _: None) as taking, taking.beside() as beside:
        ours, theirs = iter(taking), iter(beside)
        taken = [next(ours), next(theirs), next(theirs)]
        # The second has ended without being loaded: whoever took it has reported why.
        assert next(theirs, None) is None
        assert next(ours, None) is None
    assert taken == arrivals
    assert taking.elsewhere == 0
