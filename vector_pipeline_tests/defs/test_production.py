"""examples/production as it is deployed: a code server and a daemon, state in Postgres, text in a bucket."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import fsspec
import psutil
import pytest
import yaml

from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.search import search
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline_tests.defs.test_examples import EXAMPLES
from vector_pipeline_tests.support.dev import wait_for
from vector_pipeline_tests.support.openai_server import ServerConfig, serve

pytestmark = pytest.mark.timeout(300)


@contextmanager
def deployed(folder: Path, log: Path) -> Iterator[None]:
    """A code server and a daemon on the dagster.yaml in a folder; they and their runs are ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    dagster = [sys.executable, "-m"]
    code = ["dagster", "api", "grpc", "--module-name", "vector_pipeline_tests.support.impatient", "--port", port]
    server = {"grpc_server": {"host": "localhost", "port": int(port), "location_name": "vector_pipeline"}}
    (folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [server]}))
    daemon = ["dagster._daemon", "run", "--workspace", str(folder / "workspace.yaml")]
    with log.open("ab") as output:
        started = [
            psutil.Popen([*dagster, *command], stdout=output, stderr=output, start_new_session=True)
            for command in (code, daemon)
        ]
    try:
        yield
        assert [process.poll() for process in started] == [None, None]
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def texts(pipeline: Pipeline) -> set[str]:
    """All that can be found."""
    with pipeline.database.connect() as connection:
        return {row[0] for row in connection.execute("SELECT page_content FROM document_chunks")}


def process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    """The process that the launcher started for a run."""
    events = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    pids = [
        int(str(event.engine_event_data.metadata["pid"].value))
        for event in (record.event_log_entry.dagster_event for record in events)
        if event is not None and "pid" in event.engine_event_data.metadata
    ]
    return pids[0]


def test_a_bucket_is_kept_in_step_and_a_lost_run_is_started_again(
    tmp_path: Path, fresh_database_url: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load((EXAMPLES / "production" / "dagster.yaml").read_text())
    # All of it but for how long it waits.
    config["run_monitoring"]["poll_interval_seconds"] = 1
    config["run_coordinator"]["config"]["dequeue_interval_seconds"] = 1
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    store = fsspec.filesystem("s3")
    for name, text in {
        "bees.txt": "Bees make honey on the roof.",
        "김치.txt": "김치는 두 주가 지나면 잘 익습니다.",
    }.items():
        store.pipe(f"texts/{name}", text.encode())
    with serve(ServerConfig(latency=1.5)) as openai:
        for variable, value in {
            "DAGSTER_HOME": str(tmp_path),
            "DAGSTER_DATABASE_URL": fresh_database_url,
            "DATABASE_URL": fresh_database_url,
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": openai.url,
            "VECTOR_PIPELINE_HOME": str(tmp_path / "home"),
            "VECTOR_PIPELINE_SOURCE": bucket,
            "VECTOR_PIPELINE_QUIET_SECONDS": "0",
        }.items():
            monkeypatch.setenv(variable, value)
        with (
            open_pipeline(Settings.from_environment()) as pipeline,
            dg.DagsterInstance.from_config(str(tmp_path)) as instance,
            deployed(tmp_path, tmp_path / "production.log"),
        ):
            openai.wait_for_requests(1)
            (killed,) = instance.get_runs(dg.RunsFilter(job_name="ingest"))
            psutil.Process(process_of(instance, killed)).kill()
            wait_for(lambda: read_status(pipeline)["files"]["loaded"] == 2, 90)
            assert texts(pipeline) == {"Bees make honey on the roof.", "김치는 두 주가 지나면 잘 익습니다."}
            again, first = instance.get_runs(dg.RunsFilter(job_name="ingest"))
            assert (first.run_id, first.status) == (killed.run_id, dg.DagsterRunStatus.FAILURE)
            assert again.tags["dagster/retry_number"] == "1"

            store.pipe("texts/bees.txt", b"The hives have gone to the heath.")
            store.pipe("texts/tea.txt", b"Green tea wants water of seventy degrees.")
            store.rm("texts/김치.txt")
            green = "Green tea wants water of seventy degrees."
            wait_for(lambda: texts(pipeline) == {"The hives have gone to the heath.", green}, 90)
            assert read_status(pipeline)["files"]["deleted"] == 1
            assert {result.source for result in search(pipeline, "a warm drink", 9)} == {"bees.txt", "tea.txt"}
            triggers = {run.tags.get("vector_pipeline/trigger") for run in instance.get_runs()}
            assert triggers <= {"sensor", "automation"}
