"""Several processes that `ingest` the same source into one database: they share the arrivals."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.turns import Turns
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.status import read_status
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import scan
from vector_pipeline.store.run_locks import RunLocks
from vector_pipeline_tests.support.ingesting import start, write_notes
from vector_pipeline_tests.support.openai_server import ServerConfig, serve

ARRIVALS = 8


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes", ARRIVALS)


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, errors = process.communicate(timeout=150)
    assert process.returncode == 0, errors
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_two_processes_share_the_arrivals_and_pay_for_no_text_twice(
    tmp_path: Path, fresh_database_url: str, notes: Path
) -> None:
    with serve(ServerConfig(latency=1.0)) as server:
        started = [start(tmp_path / name, fresh_database_url, server.url, notes, "--json") for name in ("one", "two")]
        reports = [report_of(process) for process in started]
        assert server.seen.paid_twice == 0
    done = [report["arrivals"] for report in reports]
    assert sum(done) == ARRIVALS
    assert min(done) >= 2
    assert [report["arrivals_elsewhere"] for report in reports] == [ARRIVALS - own for own in done]
    assert sum(report["files"]["loaded"] for report in reports) == ARRIVALS
    assert sum(report["embedded"] for report in reports) == ARRIVALS
    assert all(report["files"]["pending"] == 0 for report in reports)


@pytest.mark.slow
def test_what_a_killed_process_leaves_behind_is_taken_over(tmp_path: Path, fresh_database_url: str, notes: Path) -> None:
    with serve(ServerConfig(latency=1.0)) as server:
        killed, other = (
            start(tmp_path / name, fresh_database_url, server.url, notes, "--json") for name in ("one", "two")
        )
        deadline = time.monotonic() + 100
        while server.seen.requests < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        report = report_of(other)
    assert report["arrivals"] + report["arrivals_elsewhere"] == ARRIVALS
    assert report["files"]["pending"] == 0


def registered(pipeline: Pipeline, folder: Path) -> list[str]:
    return scan(pipeline.database, open_source(str(folder)), pipeline.scan_options("cli")).arrivals


def test_an_arrival_that_a_run_holds_is_left_to_it_and_waited_for(pipeline: Pipeline, corpus: Path) -> None:
    options = pipeline.settings.model_copy(update={"max_files_per_arrival": 1})
    pipeline = Pipeline(options, pipeline.database)
    first, second, third = registered(pipeline, corpus)
    lines: list[str] = []
    seen: list[str] = []
    with RunLocks(pipeline.database, "another") as locks:
        locks.hold_arrival(first)
        with Turns(pipeline.database, [first, second, third], lines.append) as turns:
            for arrival in turns:
                seen.append(arrival)
                if arrival == third:
                    # The other run fails: what it held is pending still.
                    locks.close()
    assert seen == [second, third, first]
    assert turns.elsewhere == 0


def test_two_that_take_turns_never_take_the_same(pipeline: Pipeline, corpus: Path) -> None:
    options = pipeline.settings.model_copy(update={"max_files_per_arrival": 1})
    pipeline = Pipeline(options, pipeline.database)
    arrivals = registered(pipeline, corpus)
    with (
        Turns(pipeline.database, arrivals, lambda _: None) as one,
        Turns(pipeline.database, arrivals, lambda _: None) as another,
    ):
        ours, theirs = iter(one), iter(another)
        assert [next(ours), next(theirs), next(ours)] == arrivals


def test_what_others_loaded_is_counted_and_not_run(pipeline: Pipeline, corpus: Path) -> None:
    arrivals = registered(pipeline, corpus)
    assert ingest(pipeline, [str(corpus)]).loaded == 3
    with Turns(pipeline.database, arrivals, lambda _: None) as turns:
        assert list(turns) == []
    assert turns.elsewhere == 1
    assert read_status(pipeline)["files"]["loaded"] == 3
