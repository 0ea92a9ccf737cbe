"""`vector-pipeline dev` as a person uses it: the real webserver and daemon, driven over the UI's own GraphQL API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LOCATION = {"repositoryLocationName": "vector_pipeline.definitions", "repositoryName": "__repository__"}

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
STATUS = "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
ASSETS = "{ assetNodes { assetKey { path } description groupName kinds partitionKeys } }"
SENSORS = """
query Sensors($location: RepositorySelector!) {
  sensorsOrError(repositorySelector: $location) { ... on Sensors { results { name sensorState { status } } } }
}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(what: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s")


class Dev:
    """A running `dev` and what a person does with it."""

    def __init__(self, home: Path, port: int, environment: dict[str, str]) -> None:
        self.home = home
        self.environment = environment
        self._url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]

    def is_up(self) -> bool:
        try:
            return bool(self.ask(ASSETS)["assetNodes"])
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def materialize(self, *assets: str, partition: str | None = None) -> str:
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        job = "__ASSET_JOB"
        found = self.ask(
            LAUNCH,
            params={
                "selector": {**LOCATION, "pipelineName": job, "assetSelection": [{"path": [a]} for a in assets]},
                "runConfigData": {},
                "executionMetadata": {"tags": tags},
            },
        )["launchPipelineExecution"]
        assert found["__typename"] == "LaunchRunSuccess", found
        return str(found["run"]["runId"])

    def finished(self, run: str) -> str:
        def status() -> str | None:
            now = self.ask(STATUS, id=run)["runOrError"]["status"]
            return now if now in ("SUCCESS", "FAILURE", "CANCELED") else None

        return str(_wait_for(status, 120))

    def command(self, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "vector_pipeline.cli", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return json.loads(done.stdout) if done.stdout else {"error": done.stderr}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "bees.txt").write_text("Bees make honey on the roof.")
    (folder / "김치.txt").write_text("김치는 두 주가 지나면 잘 익습니다.")
    os.utime(folder / "bees.txt", (1, 1))
    os.utime(folder / "김치.txt", (1, 1))
    return folder


@pytest.fixture
def dev(tmp_path: Path, corpus: Path, fresh_database_url: str) -> Iterator[Dev]:
    home, port = tmp_path / "home", _free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": fresh_database_url,
        "VECTOR_PIPELINE_HOME": str(home),
        "VECTOR_PIPELINE_SOURCE": str(corpus),
        "VECTOR_PIPELINE_QUIET_SECONDS": "0",
    }
    with (tmp_path / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vector_pipeline.cli", "dev", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        running = Dev(home, port, environment)
        try:
            _wait_for(lambda: running.is_up() or process.poll() is not None, 90)
            assert process.poll() is None, (tmp_path / "dev.log").read_text()[-3_000:]
            yield running
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


@pytest.mark.timeout(300)
def test_files_dropped_are_found_and_an_arrival_can_be_materialized_from_the_ui(dev: Dev, corpus: Path) -> None:
    nodes = {node["assetKey"]["path"][-1]: node for node in dev.ask(ASSETS)["assetNodes"]}
    assert set(nodes) == {
        "source_files",
        "documents",
        "chunks",
        "token_batches",
        "embeddings",
        "document_rows",
        "vector_index",
    }
    assert all(node["description"] and node["kinds"] for node in nodes.values())
    states = dev.ask(SENSORS, location=LOCATION)["sensorsOrError"]["results"]
    assert {s["name"] for s in states if s["sensorState"]["status"] == "RUNNING"} >= {"source_files_sensor"}

    assert dev.finished(dev.materialize("source_files")) == "SUCCESS"
    arrivals = _wait_for(lambda: _keys(dev), 30)
    stages = ("documents", "chunks", "token_batches", "embeddings", "document_rows")
    assert dev.finished(dev.materialize(*stages, partition=arrivals[0])) == "SUCCESS"
    assert dev.command("search", "honey", "-k", "1")["results"][0]["source"] == "bees.txt"

    # The sensor does the rest by itself.
    (corpus / "tea.txt").write_text("Green tea wants water of seventy degrees.")
    _wait_for(lambda: dev.command("status")["files"]["loaded"] == 3, 150)
    assert dev.command("search", "green tea", "-k", "1")["results"][0]["source"] == "tea.txt"


def _keys(dev: Dev) -> list[str]:
    for node in dev.ask(ASSETS)["assetNodes"]:
        if node["assetKey"]["path"] == ["documents"]:
            return list(node["partitionKeys"])
    return []
