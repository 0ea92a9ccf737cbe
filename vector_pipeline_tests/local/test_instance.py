"""What an `ingest` by hand leaves in Dagster's instance, and what it finds there that others left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.opening import TickLimits
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.instance import (
    dagster_home,
    may_have_started_runs,
    open_instance,
    open_instance_in_process,
)
from vector_pipeline.local.sqlite_storage import RUNS_KEPT, KeptEventLog
from vector_pipeline.local.terminal_logs import NOTE
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings

ASSETS = {"documents", "chunks", "token_batches", "embeddings", "document_rows", "vector_index"}

# Runs a command and says what of this was imported for it.
IMPORTED = """
import sys
from vector_pipeline.cli.commands import cli
try:
    cli(sys.argv[1:])
finally:
    print(*(name for name in ("dagster", "openai") if name in sys.modules))
"""


def _imported(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-c", IMPORTED, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def _started_run(pipeline: Pipeline, instance: dg.DagsterInstance) -> str:
    """A run as a killed process leaves it behind."""
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("ingest")
    run = instance.create_run_for_job(job, tags={"dagster/partition": "20261124T000000Z-001"})
    instance.handle_run_event(run.run_id, dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name))
    return run.run_id


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_runs_by_hand_are_seen_in_the_instance(pipeline: Pipeline, corpus: Path, settings: Settings) -> None:
    report = ingest(pipeline, [str(corpus)], limits=TickLimits(start_seconds=-1.0, settle_seconds=0.0))
    assert (report.arrivals, report.loaded, report.failures) == (1, 3, [])
    with open_instance(settings) as instance:
        runs = instance.get_runs()
        assert {run.job_name for run in runs} == {"ingest", "index"}
        assert all(run.status is dg.DagsterRunStatus.SUCCESS for run in runs)
        assert all(instance.get_latest_materialization_event(dg.AssetKey(name)) for name in ASSETS)
        assert instance.get_dynamic_partitions("arrivals") == report.scans[0].arrivals
        for run in runs:
            (captured,) = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED).records
            event = captured.event_log_entry.dagster_event
            assert event is not None
            logs = instance.compute_log_manager
            key = logs.build_log_key_for_run(run.run_id, event.logs_captured_data.file_key)
            assert logs.is_capture_complete(key)
            assert (logs.get_log_data(key).stderr or b"").decode() == NOTE


def test_dagster_reads_what_kept_connections_wrote_and_the_other_way_round(
    pipeline: Pipeline, corpus: Path, settings: Settings
) -> None:
    def told(instance: dg.DagsterInstance) -> dict[str, object]:
        return {
            run.run_id: (run.status, run.tags, [str(entry) for entry in instance.all_logs(run.run_id)])
            for run in instance.get_runs()
        }

    with open_instance(settings) as plain:
        ingest(pipeline, [str(corpus)], instance=plain)
        (corpus / "bees.txt").unlink()
        with open_instance_in_process(settings) as kept:
            assert isinstance(kept.event_log_storage, KeptEventLog)
            ingest(pipeline, [str(corpus)], instance=kept)
            assert len(told(kept)) == 4
            assert told(kept) == told(plain)
            key = dg.AssetKey("document_rows")
            assert kept.get_materialized_partitions(key) == plain.get_materialized_partitions(key)


def test_many_arrivals_keep_few_files_open(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(RUNS_KEPT + 2):
        (folder / f"{number}.txt").write_text(f"This is the text of file {number}.")
    settings = settings.model_copy(update={"max_files_per_arrival": 1})
    with open_pipeline(settings) as pipeline, open_instance_in_process(settings) as instance:
        assert ingest(pipeline, [str(folder)], instance=instance).arrivals == RUNS_KEPT + 2
        runs = (dagster_home(settings) / "history" / "runs").resolve()
        held = {Path(file.path) for file in psutil.Process().open_files()}
        assert len({path for path in held if path.parent == runs and path.suffix == ".db"}) == RUNS_KEPT + 1


def test_runs_are_kept_where_dagster_yaml_says(pipeline: Pipeline, corpus: Path, settings: Settings) -> None:
    config = dagster_home(settings) / "dagster.yaml"
    elsewhere = settings.home / "elsewhere"
    config.write_text(f"{config.read_text()}\nstorage:\n  sqlite:\n    base_dir: {elsewhere}\n")
    assert ingest(pipeline, [str(corpus)]).loaded == 3
    assert (elsewhere / "history" / "runs.db").exists()
    assert not (dagster_home(settings) / "history").exists()


def test_output_goes_where_dagster_yaml_says(pipeline: Pipeline, corpus: Path, settings: Settings) -> None:
    elsewhere = settings.home / "logs"
    config = dagster_home(settings) / "dagster.yaml"
    config.write_text(
        f"{config.read_text()}\ncompute_logs:\n  module: dagster._core.storage.local_compute_log_manager\n"
        f"  class: LocalComputeLogManager\n  config: {{base_dir: {elsewhere}}}\n"
    )
    ingest(pipeline, [str(corpus)])
    assert list(elsewhere.rglob("*.err"))


def test_a_killed_run_is_released_where_there_is_nothing_to_load(
    pipeline: Pipeline, corpus: Path, instance: dg.DagsterInstance
) -> None:
    ingest(pipeline, [str(corpus)])
    run_id = _started_run(pipeline, instance)
    assert _status(instance, run_id) is dg.DagsterRunStatus.STARTED
    report = ingest(pipeline, [str(corpus)], limits=TickLimits(start_seconds=-1.0, settle_seconds=0.0))
    assert (report.arrivals, report.unchanged, report.failures) == (0, 3, [])
    assert _status(instance, run_id) is dg.DagsterRunStatus.FAILURE


def test_dagster_is_asked_only_where_it_may_hold_a_run_for_started(
    pipeline: Pipeline, corpus: Path, instance: dg.DagsterInstance, settings: Settings
) -> None:
    ingest(pipeline, [str(corpus)])
    assert not may_have_started_runs(settings)
    run_id = _started_run(pipeline, instance)
    assert may_have_started_runs(settings)
    instance.report_run_failed(instance.get_run_by_id(run_id))  # type: ignore[arg-type]
    assert not may_have_started_runs(settings)
    instance.report_run_canceled(instance.get_run_by_id(_started_run(pipeline, instance)))  # type: ignore[arg-type]
    assert not may_have_started_runs(settings)


@pytest.mark.parametrize(
    "config",
    [
        "storage:\n  postgres:\n    postgres_url: {env: NOWHERE}\n",
        "run_storage:\n  module: dagster._core.storage.runs\n  class: SqliteRunStorage\n",
        "- no mapping\n",
        "storage: [\n",
    ],
)
def test_dagster_is_asked_where_runs_are_kept_elsewhere_or_nobody_can_tell(
    pipeline: Pipeline, corpus: Path, settings: Settings, config: str
) -> None:
    ingest(pipeline, [str(corpus)])
    assert not may_have_started_runs(settings)
    (dagster_home(settings) / "dagster.yaml").write_text(config)
    assert may_have_started_runs(settings)


def test_dagster_is_asked_where_its_file_is_not_there(settings: Settings) -> None:
    assert may_have_started_runs(settings)


def test_what_is_not_needed_is_not_imported(tmp_path: Path, corpus: Path, fresh_database_url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": fresh_database_url, "VECTOR_PIPELINE_HOME": str(tmp_path / "home")}
    assert _imported(environment, "ingest", str(corpus)) == "dagster"
    assert _imported(environment, "ingest", str(corpus)) == ""
    (corpus / "bees.txt").unlink()
    assert _imported(environment, "ingest", str(corpus)) == "dagster"
    assert _imported(environment, "status") == ""


def test_files_of_dagster_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """As on a full disk, where SQLite cannot write beside its file."""
    settings = Settings.of(home=tmp_path)
    open_instance(settings).dispose()
    (tmp_path / "dagster/history/runs.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigurationError, match=r"Dagster's files under .*/dagster cannot be .*make room") as caught:
        open_instance(settings)
    assert "sqlalche" not in str(caught.value)


OPENING = """
import pathlib, sys
from vector_pipeline.local.instance import open_instance_in_process
from vector_pipeline.settings import Settings
import dagster, vector_pipeline.local.sqlite_storage, vector_pipeline.local.terminal_logs
settings = Settings(home=pathlib.Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
with open_instance_in_process(settings) as instance:
    print(instance.get_runs_count())
"""


def test_processes_that_open_a_new_instance_at_once_do_not_fail(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENING, str(tmp_path)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ended
    assert [out for out, _ in ended] == ["0\n"] * 4
