"""The Component in a project of its own, with the real `dg`: found, scaffolded, checked, loaded and run."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from vector_pipeline import Names, VectorPipelineComponent
from vector_pipeline.defs.component import _identifier
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.dev import ask, wait_for
from vector_pipeline_tests.support.docs import blocks

BIN = Path(sys.executable).parent
TYPE = "vector_pipeline.VectorPipelineComponent"
Dg = Callable[..., str]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as `create-dagster` makes it."""
    folder = tmp_path_factory.mktemp("project")
    command = [str(BIN / "create-dagster"), "project", "demo", "--no-uv-sync"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    return folder / "demo"


@pytest.fixture
def project(template: Path, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project without definitions, on a database and an instance of its own."""
    home = template.parent / "instance"
    home.mkdir(exist_ok=True)
    (template.parent / "dg.toml").write_text("[cli.telemetry]\nenabled = false\n")
    monkeypatch.setenv("DG_CLI_CONFIG", str(template.parent / "dg.toml"))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DATABASE_URL", fresh_database_url)
    monkeypatch.setenv("PYTHONPATH", str(template / "src"))
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    yield template
    for folder in (template / "src" / "demo" / "defs").iterdir():
        if folder.is_dir():
            for file in folder.glob("defs.yaml"):
                file.unlink()


@pytest.fixture
def dg_command(project: Path) -> Dg:
    """Runs `dg` in the project; its output, which must have the exit code that is expected."""

    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [BIN / "dg", *arguments], cwd=project, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def _defs_yaml(project: Path, name: str, attributes: str) -> None:
    folder = project / "src" / "demo" / "defs" / name
    folder.mkdir(exist_ok=True)
    (folder / "defs.yaml").write_text(f"type: {TYPE}\nattributes:\n{attributes}")


def _commands(block: int = 0) -> list[list[str]]:
    """The commands of docs/dagster.md: from an empty directory to loaded rows, or beside `dg dev`."""
    shell = blocks((Path(__file__).parents[2] / "docs" / "dagster.md").read_text("utf-8"), "sh")[block]
    return [shlex.split(line, comments=True) for line in shell.splitlines()]


def test_the_commands_of_the_docs_lead_from_an_empty_directory_to_loaded_rows(
    project: Path, dg_command: Dg, corpus: Path, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they install is installed here, and the project made; the last two are run as they stand.

    Beside `dg dev`, which has an instance in a temporary folder, the command line's runs are seen in its UI.
    """
    monkeypatch.delenv("DAGSTER_HOME")
    commands = _commands()
    assert len(commands) == 5
    assert [command[:2] for command in commands] == [
        ["pip", "install"],
        ["create-dagster", "project"],
        ["cd", "search"],
        ["dg", "scaffold"],
        ["dg", "dev"],
    ]
    assert "VectorPipelineComponent" in dg_command("list", "components", "--json")
    dg_command(*commands[3][1:])
    dg_command("check", "yaml")
    for file in corpus.iterdir():
        (project / "texts" / file.name).write_bytes(file.read_bytes())
        os.utime(project / "texts" / file.name, (1_000, 1_000))
    settings = Settings.of(home=project / ".vector_pipeline", database_url=fresh_database_url, db_schema="handbook")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with (project.parent / "dev.log").open("wb") as log:
        dev = subprocess.Popen(
            [str(BIN / "dg"), "dev", "--port", port], cwd=project, stdout=log, stderr=log, start_new_session=True
        )
        try:
            with open_pipeline(settings) as pipeline:
                wait_for(lambda: read_status(pipeline)["files"]["loaded"] == 3, 240)
            (project / "texts" / "tea.txt").write_text("Green tea wants water of seventy degrees.")
            said = _ingest_by_hand(project)
            assert f"Dagster runs for the project {project.resolve()}" in said
            query = "{ runsOrError { ... on Runs { results { jobName tags { key value } } } } }"
            runs = ask(f"http://127.0.0.1:{port}/graphql", query)["runsOrError"]["results"]
            by_hand = {
                run["jobName"] for run in runs if {"key": "vector_pipeline/trigger", "value": "cli"} in run["tags"]
            }
            assert by_hand == {"handbook_ingest", "handbook_index"}
        finally:
            os.killpg(dev.pid, signal.SIGTERM)
            dev.wait(60)


def _ingest_by_hand(project: Path) -> str:
    """What the docs' `ingest` beside `dg dev` says in addition to its report."""
    export, _, ingest = _commands(1)
    assert (export[0], ingest) == ("export", ["vector-pipeline", "ingest", "texts"])
    environment = os.environ | dict(named.split("=") for named in export[1:])
    done = subprocess.run(
        [BIN / ingest[0], *ingest[1:]],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_mistakes_are_named_before_anything_runs(project: Path, dg_command: Dg) -> None:
    _defs_yaml(project, "handbook", "  sorce: texts\n  openai_api_key: sk-do-not-show\n  chunk_tokens: [1]\n")
    found = dg_command("check", "yaml", code=1)
    assert "sorce" in found
    assert "chunk_tokens" in found
    assert "does not match" in found  # the pattern of a template

    _defs_yaml(project, "handbook", "  source: texts\n  openai_api_key: sk-do-not-show\n")
    found = dg_command("check", "defs", "--no-check-yaml", code=1)
    assert "openai_api_key is in the defs.yaml of 'handbook', which is not a place for a secret" in found
    assert 'write "{{ env.OPENAI_API_KEY }}" there' in found
    assert "sk-do-not-show" not in found

    _defs_yaml(project, "handbook", "  source: texts\n  chunk_tokens: 9999999\n")
    assert "VECTOR_PIPELINE_CHUNK_TOKENS is '9999999': input should be less than" in dg_command("check", "defs", code=1)


def _resolved(attributes: str) -> Any:
    return VectorPipelineComponent.from_attributes_dict(attributes=yaml.safe_load(attributes))


def test_every_setting_is_an_attribute_and_templates_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = set(VectorPipelineComponent.model().model_fields)
    settings = {field.alias or name for name, field in Settings.model_fields.items()}
    assert settings - fields == {"dagster_home"}
    monkeypatch.setenv("SOME_KEY", "sk-of-the-environment")
    found = _resolved("openai_api_key: '{{ env.SOME_KEY }}'\nmodel: text-embedding-3-large\nschema: law")
    assert (found.openai_api_key, found.embedding_model, found.db_schema) == (
        "sk-of-the-environment",
        "text-embedding-3-large",
        "law",
    )


def test_a_source_is_one_or_a_list() -> None:
    assert _resolved("source: texts").source == "texts"
    assert _resolved("source: [texts, 's3://bucket/law']").source == ["texts", "s3://bucket/law"]


@pytest.mark.parametrize(
    "attributes",
    [
        "openai_api_key: sk-do-not-show",
        "database_url: postgresql://user:do-not-show@host/texts",
        "database_url: postgresql://host/texts?password=do-not-show",
        "openai_base_url: https://user:do-not-show@proxy.example/v1",
    ],
)
def test_a_secret_in_the_file_itself_is_not_taken(attributes: str) -> None:
    assert "do-not-show" not in str(_resolved(attributes))


def test_what_the_project_decides_reaches_the_definitions() -> None:
    found = _resolved(
        """
deps: [exports/handbook]
translation: {key_prefix: [search, handbook], group_name: search, owners: ["team:search"], tags: {tier: prod}}
freshness: {fail_window_minutes: 60}
switches: {backfill_schedule: false}
executor: project
pool: embeddings_of_all
"""
    ).options()
    assert found.deps == [dg.AssetKey(["exports", "handbook"])]
    assert (found.key_prefix, found.group_name) == (["search", "handbook"], "search")
    assert (list(found.owners), found.tags) == (["team:search"], {"tier": "prod"})
    assert found.schedule_status("backfill_schedule") is dg.DefaultScheduleStatus.STOPPED
    assert found.sensor_status("source_files_sensor") is dg.DefaultSensorStatus.RUNNING
    assert (found.executor, found.pool) == (None, "embeddings_of_all")
    with pytest.raises(ConfigurationError, match="'nightly' is not a sensor or schedule"):
        _resolved("switches: {nightly: false}").options()


@pytest.mark.parametrize(("folder", "name"), [("handbook", "handbook"), ("my-texts", "my_texts"), ("2024", "_2024")])
def test_a_folder_gives_a_name_that_dagster_takes(folder: str, name: str) -> None:
    assert _identifier(folder) == name
    assert Settings.of(name=name).name == name
    assert Names(name).of("ingest") == f"{name}_ingest"
