"""The run launcher of `dev`: a run begins in a process that has everything imported, and can be ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher.base import LaunchRunContext

from vector_pipeline.local.instance import open_instance
from vector_pipeline.local.run_launcher import PROCESS_FILE, WarmRunLauncher, process_of
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.dev import wait_for
from vector_pipeline_tests.support.waiting_job import PLACE, waiting

SECONDS = 120.0
# Nothing of the job imports it, but each run of ours uses it.
OURS = "vector_pipeline.stages.embeddings.plan"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(Settings.of(home=tmp_path / "home")) as opened:
        yield opened


def launch(instance: dg.DagsterInstance, place: Path, module: str | None = None) -> dg.DagsterRun:
    """A run as the daemon launches it; of the job in another module, if one is given."""
    place.mkdir(exist_ok=True)
    origin = dg.reconstructable(waiting).get_python_origin()
    if module is not None:
        pointer = ModuleCodePointer(module, "waiting", str(Path.cwd()))
        origin = origin._replace(repository_origin=origin.repository_origin._replace(code_pointer=pointer))
    run = instance.create_run_for_job(waiting, job_code_origin=origin, tags={PLACE: str(place)})
    instance.run_launcher.launch_run(LaunchRunContext(run, None))
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def has_succeeded(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    return status(instance, run) is dg.DagsterRunStatus.SUCCESS


def imported(place: Path) -> tuple[int, list[str]]:
    """The process of a run, and the modules that were imported when its job began."""
    wait_for((place / "imported").exists, SECONDS)
    process, *modules = (place / "imported").read_text().splitlines()
    return int(process), modules


def test_runs_begin_with_everything_imported_and_in_processes_of_their_own(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert isinstance(instance.run_launcher, WarmRunLauncher)
    places = [tmp_path / "first", tmp_path / "second"]
    runs = [launch(instance, place) for place in places]
    found = [imported(place) for place in places]
    assert len({os.getpid(), *(process for process, _ in found)}) == 3
    assert all(OURS in modules for _, modules in found)
    for place in places:
        (place / "end").touch()
    for run in runs:
        wait_for(partial(has_succeeded, instance, run), SECONDS)


# What a run needs before its first step, in the process that runs are forked from.
OPENED = """
import sys
import vector_pipeline.local.preloaded
before = set(sys.modules)
from pathlib import Path
from vector_pipeline.embedding.providers.embedded import embedded_model
from vector_pipeline.local.instance import open_instance
from vector_pipeline.settings import Settings
with open_instance(Settings.of(home=Path(sys.argv[1]))) as instance:
    instance.get_runs(), instance.event_log_storage, instance.compute_log_manager
    embedded_model("wordllama-256").embed(["text"])
print(*(name for name in sys.modules if name not in before), sep="\\n")
"""


def test_opening_an_instance_and_the_model_imports_nothing_more(tmp_path: Path) -> None:
    """Each run imported 560 modules, most of them for Dagster's storage."""
    command = [sys.executable, "-c", OPENED, str(tmp_path / "home")]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    libraries = {"alembic", "dagster", "requests", "sqlalchemy", "upath", "wordllama"}
    # Another version of Dagster may import a few others.
    late = [name for name in found if name.split(".")[0] in libraries]
    assert len(late) <= 5, late


# Prints the level and the handlers of the root logger in the process that runs are forked from.
LOGGING = """
import logging
import vector_pipeline.local.preloaded
print(logging.getLogger().level == logging.WARNING, logging.getLogger().handlers)
"""


def test_the_imports_do_not_let_libraries_log_to_the_terminal_of_dev() -> None:
    """Each run printed eight lines of Alembic's, and each request one of httpx2's."""
    done = subprocess.run([sys.executable, "-c", LOGGING], check=True, capture_output=True, text=True)
    assert done.stdout == "True []\n"


def test_a_run_is_ended_by_any_process_and_only_while_it_lives(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, tmp_path / "place")
    process, _ = imported(tmp_path / "place")
    with open_instance(Settings.of(home=tmp_path / "home")) as of_the_web_server:
        assert of_the_web_server.run_launcher.terminate(run.run_id)
        wait_for(lambda: status(instance, run) is dg.DagsterRunStatus.CANCELED, SECONDS)
        assert not of_the_web_server.run_launcher.terminate(run.run_id)
    wait_for(lambda: not psutil.pid_exists(process), SECONDS)


def test_a_process_that_was_killed_is_not_taken_for_another_one(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, tmp_path / "place")
    process, _ = imported(tmp_path / "place")
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    place = Path(found.tags[PROCESS_FILE])
    assert process_of(place) == process
    psutil.Process(process).kill()
    wait_for(lambda: process_of(place) is None, SECONDS)
    assert place.read_text() == str(process)
    assert not instance.run_launcher.terminate(run.run_id)


def test_a_run_that_cannot_be_loaded_fails_at_once(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, tmp_path / "place", module="no_such_module")
    wait_for(lambda: status(instance, run) is dg.DagsterRunStatus.FAILURE, SECONDS)
