"""Several machines that share nothing but addresses: one is lost, one loses Postgres for a while, no clock is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import fsspec
import pytest
import yaml

from vector_pipeline.store.connection import Database
from vector_pipeline_tests.defs.test_examples import EXAMPLES
from vector_pipeline_tests.support.dev import wait_for
from vector_pipeline_tests.support.hosts.launcher import HOST, runs_on
from vector_pipeline_tests.support.hosts.machines import Machine, free_port, machine
from vector_pipeline_tests.support.object_store import serve_store
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve
from vector_pipeline_tests.support.proxy import Proxy, proxy_to

pytestmark = pytest.mark.timeout(300)

# Each has a loopback address of its own; 127.0.0.1 is the embedding API's.
CONTROL, DATABASE, STORE, LOST, CUT_OFF = (f"127.0.0.{n}" for n in range(2, 7))

HOSTS = "vector_pipeline_tests.support.hosts"
CLOCKS = {LOST: "-660", CUT_OFF: "660"}
"""How many seconds the workers' clocks are ahead. A store refuses what is off by more than 15 minutes."""

FILES = {
    f"{file}.txt": [f"Paragraph {n} of file {file} says that {file * 100 + n} bees fly." for n in range(16)]
    for file in range(8)
}
TEXTS = {text for texts in FILES.values() for text in texts}

IN_FLIGHT, INPUTS = 2, 4
API = ServerConfig(latency=2.0, requests_per_minute=90, bucket_seconds=6.0)


def instance_of(workers: list[str]) -> str:
    """The dagster.yaml of examples/production with a launcher for these workers, and without its long waits."""
    config = yaml.safe_load((EXAMPLES / "production" / "dagster.yaml").read_text("utf-8"))
    config["run_monitoring"]["poll_interval_seconds"] = 2
    config["run_coordinator"]["config"]["dequeue_interval_seconds"] = 1
    noop = {"module": "dagster.core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    config["compute_logs"] = noop
    config["run_launcher"] = {"module": f"{HOSTS}.launcher", "class": "HostsLauncher", "config": {"workers": workers}}
    return yaml.safe_dump(config)


@dataclass
class Cluster:
    """The machines, and what a person with a look at all of them sees."""

    instance: dg.DagsterInstance
    database: Database
    network: Proxy
    """Between the worker that is cut off and Postgres."""
    lost: Machine
    workers: dict[str, str]
    """The agents' URLs by address."""

    def runs(self, address: str, *statuses: dg.DagsterRunStatus) -> set[str]:
        """The ingests that were launched on a worker and whose process lives there."""
        alive = runs_on(self.workers[address]) or set()
        found = self.instance.get_runs(dg.RunsFilter(job_name="ingest", statuses=list(statuses)))
        return {run.run_id for run in found if run.tags.get(HOST) == self.workers[address]} & alive

    def arrivals(self, address: str, *statuses: dg.DagsterRunStatus) -> set[str]:
        """The arrivals of runs on a worker with one of some statuses, whether or not their process lives."""
        found = self.instance.get_runs(dg.RunsFilter(job_name="ingest", statuses=list(statuses)))
        return {run.tags["dagster/partition"] for run in found if run.tags.get(HOST) == self.workers[address]}

    def texts(self) -> list[str]:
        """All that can be found."""
        with self.database.connect() as connection:
            return [row[0] for row in connection.execute("SELECT page_content FROM document_chunks")]


@contextmanager
def cluster(folder: Path, url: str, api: RunningServer, store: dict[str, str]) -> Iterator[Cluster]:
    """A control plane and two workers."""
    with ExitStack() as stack:
        database = stack.enter_context(proxy_to(url, DATABASE))
        network = stack.enter_context(proxy_to(url, CUT_OFF))
        workers = {address: f"http://{address}:{free_port(address)}" for address in (LOST, CUT_OFF)}
        dagster = instance_of(list(workers.values()))

        def variables(through: Proxy) -> dict[str, str]:
            return {
                **store,
                "DATABASE_URL": through.url,
                "DAGSTER_DATABASE_URL": through.url,
                "OPENAI_API_KEY": "sk-test",
                "OPENAI_BASE_URL": api.url,
                "VECTOR_PIPELINE_SOURCE": "s3://texts",
                "VECTOR_PIPELINE_STORAGE": "s3://stages",
                "VECTOR_PIPELINE_MAX_FILES_PER_ARRIVAL": "1",
                "VECTOR_PIPELINE_CHUNK_STRATEGY": "paragraph",
                "VECTOR_PIPELINE_MAX_IN_FLIGHT": str(IN_FLIGHT),
                "VECTOR_PIPELINE_MAX_INPUTS_PER_REQUEST": str(INPUTS),
                "VECTOR_PIPELINE_QUIET_SECONDS": "0",
            }

        def worker(name: str, address: str, through: Proxy) -> Machine:
            port = workers[address].rpartition(":")[2]
            command = (f"{HOSTS}.agent", address, port, CLOCKS[address])
            return stack.enter_context(machine(folder / name, dagster, variables(through), command))

        lost = worker("lost", LOST, database)
        worker("cut off", CUT_OFF, network)
        port = str(free_port(CONTROL))
        grpc = ("dagster", "api", "grpc", "-m", f"{HOSTS}.definitions", "-h", CONTROL, "-p", port)
        daemon = ("dagster._daemon", "run", "--grpc-host", CONTROL, "--grpc-port", port)
        control = stack.enter_context(machine(folder / "control", dagster, variables(database), grpc, daemon))
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(control.folder)))
        yield Cluster(instance, Database(url), network, lost, workers)
        assert [process.poll() for process in control.processes] == [None, None]


def test_eight_arrivals_on_two_workers_while_one_is_lost_and_one_is_cut_off(
    tmp_path: Path, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_store(STORE) as store, serve(API) as api:
        monkeypatch.setenv("DAGSTER_DATABASE_URL", fresh_database_url)
        for name, value in store.items():
            monkeypatch.setenv(name, value)
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        for bucket in ("texts", "stages"):
            files.mkdir(bucket)
        for name, texts in FILES.items():
            files.pipe(f"texts/{name}", "\n\n".join(texts).encode())
        with cluster(tmp_path, fresh_database_url, api, store) as hosts:
            started, ended = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS
            wait_for(lambda: hosts.runs(LOST, started) and hosts.runs(CUT_OFF, started) and api.seen.in_flight, 120)
            may_be_lost = under_way(hosts, api, LOST)
            hosts.lost.kill()
            assert runs_on(hosts.workers[LOST]) is None
            hosts.lost.start(*hosts.lost.processes[0].args[2:])

            running = wait_for(lambda: hosts.runs(CUT_OFF, started) if api.seen.in_flight else set(), 60)
            may_be_lost += under_way(hosts, api, CUT_OFF)
            arrivals = hosts.arrivals(CUT_OFF, started)
            with hosts.network.partitioned():
                wait_for(lambda: arrivals & hosts.arrivals(LOST, started, ended), 90)
                # Another has taken over what their processes, which nobody has told, still work on.
                assert running & (runs_on(hosts.workers[CUT_OFF]) or set())

            wait_for(lambda: len(hosts.texts()) == len(TEXTS), 120)
            wait_for(lambda: not hosts.runs(CUT_OFF) and not hosts.runs(LOST), 60)
            assert sorted(hosts.texts()) == sorted(TEXTS)
        assert set(api.seen.billed) == TEXTS
        assert max(api.seen.billed.values()) <= 3
        assert api.seen.paid_twice <= may_be_lost
        assert api.seen.statuses[429] == 0


def under_way(hosts: Cluster, api: RunningServer, address: str) -> int:
    """The texts whose answers a worker may lose now: under way, or answered and not yet stored."""
    return (api.seen.in_flight + len(hosts.runs(address))) * INPUTS
