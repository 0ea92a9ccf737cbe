"""A running `vector-pipeline dev`, and what a person does with it over the API that the UI itself speaks."""

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")

LOCATION = {"repositoryLocationName": "vector_pipeline.definitions", "repositoryName": "__repository__"}
STAGES = ("documents", "chunks", "token_batches", "embeddings", "document_rows")

_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
_BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_BACKFILL_STATUS = """
query Backfill($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }
"""
_STOP_SENSOR = """
mutation Stop($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }
"""
_STATUS = "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
_RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
_ASSETS = "{ assetNodes { assetKey { path } description groupName kinds partitionKeys } }"
_SENSORS = """
query Sensors($location: RepositorySelector!) {
  sensorsOrError(repositorySelector: $location) {
    ... on Sensors { results { name sensorState { id status ticks(limit: 1) { status } } } }
  }
}
"""


def wait_for(what: Callable[[], T], seconds: float) -> T:
    """What a function gives as soon as it is something; AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s")


def ask(url: str, query: str, **variables: Any) -> Any:
    """The data of an answer of the API at a URL."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)
    assert "errors" not in found, found
    return found["data"]


class Dev:
    """A running `dev`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, environment: Mapping[str, str]) -> None:
        self.process = process
        self.environment = environment
        self.url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        """The data of an answer."""
        return ask(self.url, query, **variables)

    def is_up(self) -> bool:
        """Whether the code location is loaded."""
        try:
            return bool(self.assets())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def assets(self) -> dict[str, dict[str, Any]]:
        """The assets by name."""
        return {node["assetKey"]["path"][-1]: node for node in self.ask(_ASSETS)["assetNodes"]}

    def arrivals(self) -> list[str]:
        """The partitions."""
        return list(self.assets()["documents"]["partitionKeys"])

    def materialize(self, *assets: str, partition: str | None = None) -> str:
        """Press the button; the id of the run."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        selector = {**LOCATION, "pipelineName": "__ASSET_JOB", "assetSelection": [{"path": [a]} for a in assets]}
        params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}
        found = self.ask(_LAUNCH, params=params)["launchPipelineExecution"]
        assert found["__typename"] == "LaunchRunSuccess", found
        return str(found["run"]["runId"])

    def finished(self, run: str) -> str:
        """How a run ended."""

        def status() -> str | None:
            now = str(self.ask(_STATUS, id=run)["runOrError"]["status"])
            return now if now in ("SUCCESS", "FAILURE", "CANCELED") else None

        return str(wait_for(status, 120))

    def backfill(self, partitions: list[str]) -> str:
        """Launch a backfill of the stages over some arrivals, and wait until it is over; how it ended."""
        params = {"assetSelection": [{"path": [a]} for a in STAGES], "partitionNames": partitions}
        found = self.ask(_BACKFILL, params=params)["launchPartitionBackfill"]
        assert found["__typename"] == "LaunchBackfillSuccess", found

        def status() -> str | None:
            answer = self.ask(_BACKFILL_STATUS, id=found["backfillId"])["partitionBackfillOrError"]
            return None if answer["status"] == "REQUESTED" else str(answer["status"])

        return str(wait_for(status, 180))

    def sensors(self) -> dict[str, dict[str, Any]]:
        """The sensors' states by name."""
        found = self.ask(_SENSORS, location=LOCATION)["sensorsOrError"]["results"]
        return {sensor["name"]: sensor["sensorState"] for sensor in found}

    def stop_sensor(self, name: str) -> None:
        """Switch a sensor off, and wait for a tick that is under way."""
        self.ask(_STOP_SENSOR, id=self.sensors()[name]["id"])
        assert self.sensors()[name]["status"] == "STOPPED"
        wait_for(lambda: all(tick["status"] != "STARTED" for tick in self.sensors()[name]["ticks"]), 120)

    def runs(self) -> list[dict[str, Any]]:
        """The runs, newest first, their tags as a dict."""
        found = self.ask(_RUNS)["runsOrError"]["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def command(self, *arguments: str) -> Any:
        """What a command prints, run beside it."""
        done = subprocess.run(
            [sys.executable, "-m", "vector_pipeline.cli", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return json.loads(done.stdout) if done.stdout else {"error": done.stderr}

    def loaded(self) -> int:
        """How many files are loaded."""
        return int(self.command("status")["files"]["loaded"])

    def kill(self) -> None:
        """`kill -9` of all its processes at once: webserver, daemon, code servers and runs."""
        parent = psutil.Process(self.process.pid)
        for child in [*parent.children(recursive=True), parent]:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(30)


@contextmanager
def running_dev(log: Path, settings: Mapping[str, str], folder: Path | None = None) -> Iterator[Dev]:
    """`dev` in a folder, on a free port, up, with these variables set; stopped at the end unless it was killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {**os.environ, **settings}
    with log.open("ab") as output:
        process = subprocess.Popen(
            # The command itself: `python -m` looks for modules in the folder that it is started in.
            [str(Path(sys.executable).with_name("vector-pipeline")), "dev", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        dev = Dev(process, port, environment)
        try:
            wait_for(lambda: dev.is_up() or process.poll() is not None, 180)
            assert process.poll() is None, log.read_text()[-3_000:]
            yield dev
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)
