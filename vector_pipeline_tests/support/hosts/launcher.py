"""A run launcher over the network: the agent of a worker starts the process of a run."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Self

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData, serialize_value

HOST = "host"
"""Tag of a run: the URL of the agent that started it."""

READY_SECONDS = 60.0
ANSWER_SECONDS = 10.0


def runs_on(worker: str) -> set[str] | None:
    """The runs whose process lives on a worker; None where nobody answers."""
    return _ask(f"{worker}/runs")


def _ask(url: str, body: bytes | None = None) -> set[str] | None:
    try:
        with urllib.request.urlopen(url, body, timeout=ANSWER_SECONDS) as answer:
            return set(answer.read().decode().split())
    except (urllib.error.URLError, OSError):
        return None


class HostsLauncher(RunLauncher, ConfigurableClass):
    """Starts each run on the worker with the fewest, among those that answer and reach the database."""

    def __init__(self, workers: list[str], inst_data: ConfigurableClassData | None = None) -> None:
        self._workers = workers
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {"workers": [str]}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        run, origin = context.dagster_run, context.job_code_origin
        assert origin is not None
        worker = self._choose()
        self._instance.add_run_tags(run.run_id, {HOST: worker})
        # Without this instance's own configuration: the worker has a DAGSTER_HOME of its own.
        arguments = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=None)
        assert _ask(f"{worker}/runs/{run.run_id}", serialize_value(arguments).encode()) is not None

    def _choose(self) -> str:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            ready = {worker: _ask(f"{worker}/ready") for worker in self._workers}
            loads = [(len(runs), worker) for worker, runs in ready.items() if runs is not None]
            if loads:
                return min(loads)[1]
            time.sleep(0.5)
        raise AssertionError("no worker is ready")

    def terminate(self, run_id: str) -> bool:
        return False

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        alive = runs_on(run.tags[HOST])
        well = alive is not None and run.run_id in alive
        return CheckRunHealthResult(WorkerStatus.RUNNING if well else WorkerStatus.FAILED)
