"""Two pipelines in one code location and one database: each keeps to its own schema, model and chunking."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.opening import TickLimits
from vector_pipeline.defs.runs import release_abandoned
from vector_pipeline.local.instance import open_instance
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve

EXAMPLE = Path(__file__).parents[2] / "examples" / "two_corpora.py"
PARAGRAPHS = "\n\n".join(f"This is paragraph {n}, and it says something of its own." for n in range(6))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The sources of both, as the example asks for them."""
    found = {}
    for name in ("law", "news"):
        found[name] = tmp_path / name
        found[name].mkdir()
        (found[name] / f"{name}.txt").write_text(f"What only {name} has.\n\n{PARAGRAPHS}")
        monkeypatch.setenv(name.upper(), str(found[name]))
    return found


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with serve(ServerConfig(other_models=("text-embedding-3-large",))) as running:
        yield running


@pytest.fixture
def definitions(
    tmp_path: Path,
    fresh_database_url: str,
    folders: dict[str, Path],
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
) -> dg.Definitions:
    """The example's own, with the database, the server and the key of the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("VECTOR_PIPELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATABASE_URL", fresh_database_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    lazy = runpy.run_path(str(EXAMPLE))["defs"]
    found = lazy() if callable(lazy) else lazy.load_fn()
    assert isinstance(found, dg.Definitions)
    return found


def test_the_example_loads_and_nothing_is_named_twice(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    repository = definitions.get_repository_def()
    assert {"law_ingest", "news_ingest", "law_index", "news_index"} <= set(repository.job_names)
    assert {key.path[0] for key in repository.asset_graph.get_all_asset_keys()} == {"law", "news"}
    sensors = {sensor.name for sensor in repository.sensor_defs}
    assert {"law_source_files_sensor", "news_source_files_sensor"} <= sensors
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "law_backfill_schedule",
        "law_scan_schedule",
        "news_backfill_schedule",
        "news_scan_schedule",
    }


def _ingest(definitions: dg.Definitions, instance: dg.DagsterInstance, name: str) -> None:
    assert definitions.resolve_job_def(f"{name}_scan").execute_in_process(instance=instance).success
    (arrival,) = instance.get_dynamic_partitions(f"{name}_arrivals")
    job = definitions.resolve_job_def(f"{name}_ingest")
    assert job.execute_in_process(instance=instance, partition_key=arrival).success
    assert definitions.resolve_job_def(f"{name}_index").execute_in_process(instance=instance).success


def _row(settings: Settings, query: str) -> Any:
    with open_pipeline(settings) as pipeline, pipeline.database.connect() as connection:
        return connection.execute(query).fetchone()


def test_both_ingest_into_a_schema_of_their_own(definitions: dg.Definitions, folders: dict[str, Path]) -> None:
    of = {name: Settings.from_environment(name=name, db_schema=name) for name in folders}
    with open_instance(of["law"]) as instance:
        for name in folders:
            _ingest(definitions, instance, name)

    roots = {name: _row(s, "SELECT DISTINCT root FROM source_files") for name, s in of.items()}
    assert roots == {name: (str(folder.resolve()),) for name, folder in folders.items()}
    view = "SELECT count(*), min(vector_dims(embedding)) FROM document_chunks"
    assert {name: _row(s, view) for name, s in of.items()} == {"law": (1, 1_024), "news": (7, 1_536)}
    models = {name: _row(s, "SELECT model FROM spaces")[0] for name, s in of.items()}
    assert models == {"law": "text-embedding-3-large", "news": "text-embedding-3-small"}


def test_the_runs_of_another_pipeline_are_not_taken_for_abandoned(
    definitions: dg.Definitions, folders: dict[str, Path]
) -> None:
    law, news = (Settings.from_environment(name=name, db_schema=name) for name in folders)
    with open_instance(law) as instance:
        run = instance.create_run_for_job(
            definitions.resolve_job_def("law_ingest"), tags={"dagster/partition": "20261124T000000Z-001"}
        )
        instance.handle_run_event(run.run_id, dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name))
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]
        assert _released(news, instance) == []
        assert _released(law, instance) == [run.run_id]


def _released(settings: Settings, instance: dg.DagsterInstance) -> list[str]:
    with open_pipeline(settings) as pipeline, pipeline.database.connect() as connection:
        return release_abandoned(
            instance, Names(settings.name), connection, TickLimits(start_seconds=-1.0, settle_seconds=0.0)
        )
