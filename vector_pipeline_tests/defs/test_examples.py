"""What examples/ and the docs show, run."""

from __future__ import annotations

import json
import runpy
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.instance import open_instance
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.openai_server import ServerConfig, serve

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts that a webhook, set up as ALERT_WEBHOOK, was sent."""
    found: list[str] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_port}")
        yield found
        server.shutdown()


def test_the_alert_the_run_and_status_say_which_arrival_failed_and_why(
    tmp_path: Path, fresh_database_url: str, corpus: Path, posted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = runpy.run_path(str(EXAMPLES / "alerts.py"))["post_failure"]
    with serve(ServerConfig(key="sk-right")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
        settings = Settings.from_environment(home=tmp_path / "home", database_url=fresh_database_url)
        with open_pipeline(settings) as pipeline, open_instance(settings) as instance:
            ingest(pipeline, [str(corpus)], instance=instance)
            (arrival,) = instance.get_dynamic_partitions("arrivals")
            job = build_definitions(settings, opened=pipeline).resolve_job_def("ingest")
            done = job.execute_in_process(instance=instance, partition_key=arrival, raise_on_error=False)
            context = dg.build_run_status_sensor_context(
                "post_failure",
                dagster_instance=instance,
                dagster_run=done.dagster_run,
                dagster_event=done.get_run_failure_event(),
            ).for_run_failure()
            alert(context)
            waiting = read_status(pipeline)["pending"]
    (failed,) = done.get_step_failure_events()
    summary = failed.step_failure_data.user_failure_data
    assert summary is not None
    assert summary.metadata["files_pending"].value == 3
    assert "materialize the arrival" in str(summary.metadata["next"].value)
    assert all("OPENAI_API_KEY" in file["error"] for file in waiting)
    (said,) = posted
    assert said.startswith(f"ingest of arrival {arrival} failed: embeddings: ")
    assert "OPENAI_API_KEY" in said
    assert "sk-wrong" not in said


def test_the_alert_stands_beside_the_pipeline(pipeline: Pipeline) -> None:
    alert = runpy.run_path(str(EXAMPLES / "alerts.py"))["post_failure"]
    merged = dg.Definitions.merge(build_definitions(pipeline.settings), dg.Definitions(sensors=[alert]))
    dg.Definitions.validate_loadable(merged)


def test_the_production_instance_runs_the_pipeline(
    tmp_path: Path, pipeline: Pipeline, fresh_database_url: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(EXAMPLES / "production" / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_DATABASE_URL", fresh_database_url)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        report = ingest(pipeline, [str(corpus)], instance=instance)
        assert report.loaded == 3
        assert len(instance.get_runs()) >= 2
