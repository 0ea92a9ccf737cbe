"""The instance of a `dev` of Dagster that runs for the project in which the command line stands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import serialize_value

from vector_pipeline.local.beside import InstancePlace, running_place
from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.instance import may_have_started_runs
from vector_pipeline.pipeline.pipeline import Pipeline

PROJECT = '[tool.dg]\ndirectory_type = "project"\n'
SLEEP = "import sys, time; print('started', flush=True); time.sleep(600)"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as `dg` knows it, with a folder of definitions."""
    # The path is long and has spaces: Dagster breaks its line.
    root = tmp_path / "a project with a long name" / "my search"
    (root / "src" / "defs").mkdir(parents=True)
    (root / "pyproject.toml").write_text(PROJECT)
    return root.resolve()


@contextmanager
def _daemon(folder: Path, instance: Path, config: Path, home: Path | None = None) -> Iterator[None]:
    """A process with the arguments, folder and variables that `dagster dev` gives its daemon."""
    instance.mkdir(exist_ok=True)
    reference = serialize_value(InstanceRef.from_dir(str(instance), config_dir=str(config)))
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEP, "-m", "dagster._daemon", "run", "--instance-ref", reference],
        cwd=folder,
        env=os.environ | ({"DAGSTER_HOME": str(home)} if home else {}),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()
            process.wait(30)


def test_the_temporary_instance_of_a_running_dev_is_found_in_the_project(project: Path) -> None:
    left_by_another = project / ".tmp_dagster_home_left"
    left_by_another.mkdir()
    instance = project / ".tmp_dagster_home_a1b2c3"
    with _daemon(project, instance, project):
        for folder in (project, project / "src" / "defs"):
            assert running_place(folder) == InstancePlace(instance, project, project)
        assert running_place(project.parent) is None
    assert running_place(project) is None


def test_a_dev_whose_folder_was_deleted_hides_no_other(project: Path) -> None:
    lost, instance = project / ".tmp_dagster_home_lost", project / ".tmp_dagster_home_a1b2c3"
    with _daemon(project, lost, project), _daemon(project, instance, project):
        lost.rmdir()
        assert running_place(project) == InstancePlace(instance, project, project)
    with _daemon(project, instance, project), _daemon(project, lost, project):
        lost.rmdir()
        assert running_place(project) == InstancePlace(instance, project, project)


def test_the_dagster_home_of_a_running_dev_is_found_wherever_it_was_set(project: Path, tmp_path: Path) -> None:
    home = tmp_path / "instance"
    with _daemon(project, home, home, home):
        assert running_place(project / "src") == InstancePlace(home, home, project)


def test_a_dev_of_the_workspace_runs_its_projects_and_the_project_s_own_comes_first(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "dg.toml").write_text('directory_type = "workspace"\n')
    workspace, home = tmp_path.resolve(), tmp_path / "instance"
    with _daemon(workspace, home, home, home):
        assert running_place(project) == InstancePlace(home, home, workspace)
        inner = project / ".tmp_dagster_home_inner"
        with _daemon(project, inner, project):
            assert running_place(project) == InstancePlace(inner, project, project)


def test_a_folder_that_is_no_project_has_no_instance_of_its_own(project: Path, tmp_path: Path) -> None:
    (project / "pyproject.toml").write_text("[project]\nname = 'library'\n")
    with _daemon(project, project / ".tmp_dagster_home_a1", project):
        assert running_place(project) is None
    (project / "pyproject.toml").write_text("no TOML")
    assert running_place(project) is None


def test_runs_are_kept_in_the_place_that_is_given(pipeline: Pipeline, corpus: Path, project: Path) -> None:
    instance = project / ".tmp_dagster_home_a1b2c3"
    instance.mkdir()
    place = InstancePlace(instance, project, project)
    assert may_have_started_runs(pipeline.settings, place)
    assert ingest(pipeline, [str(corpus)], place=place).loaded == 3
    assert not may_have_started_runs(pipeline.settings, place)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(instance), config_dir=str(project))) as seen:
        assert {run.job_name for run in seen.get_runs()} == {"ingest", "index"}
    assert not (instance / "dagster.yaml").exists()
    assert not (pipeline.settings.home / "dagster").exists()


def test_storage_that_the_project_s_dagster_yaml_names_is_used(
    pipeline: Pipeline, corpus: Path, project: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (project / "dagster.yaml").write_text(f"storage:\n  sqlite:\n    base_dir: '{elsewhere}'\n")
    instance = project / ".tmp_dagster_home_a1b2c3"
    instance.mkdir()
    assert ingest(pipeline, [str(corpus)], place=InstancePlace(instance, project, project)).loaded == 3
    assert (elsewhere / "history" / "runs.db").exists()
