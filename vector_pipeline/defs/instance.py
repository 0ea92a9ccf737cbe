"""Dagster's instance for the command line and for `dev`: its folder, its dagster.yaml, and runs left behind."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import dagster as dg

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.runs import is_of
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import Settings, variable
from vector_pipeline.stages.arrivals import in_progress
from vector_pipeline.stages.pipeline import Pipeline


def dagster_home(settings: Settings) -> Path:
    """The instance's folder, made if need be, with a dagster.yaml of ours where it has none.

    Raises ConfigurationError where it cannot be written.
    """
    home = (settings.dagster_home or settings.home / "dagster").absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        config = home / "dagster.yaml"
        if not config.exists():
            config.write_text((resources.files("vector_pipeline.defs") / "dagster.yaml").read_text())
    except OSError as error:
        raise ConfigurationError(
            f"{home} cannot be written ({error.strerror}); give this user the right to, or set {variable('home')} "
            f"to another folder"
        ) from error
    return home


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The instance in `dagster_home`."""
    home = dagster_home(settings)
    try:
        return dg.DagsterInstance.from_config(str(home))
    except Exception as error:
        raise ConfigurationError(
            f"Dagster cannot use {home / 'dagster.yaml'}: {' '.join(str(error).split())[:300]}"
        ) from error


def release_abandoned_runs(settings: Settings, pipeline: Pipeline) -> list[str]:
    """Mark runs as failed whose process is gone, and give back their pool slots; returns their ids.

    Whether a run is alive is told by its arrival's lock in Postgres, not by Dagster's status, which a killed process
    leaves at "started". Runs of other pipelines in the same instance hold locks that cannot be seen from here, and are
    left alone.
    """
    abandoned = []
    names = Names(settings.name)
    with open_instance(settings) as instance, pipeline.database.connect(role="abandoned runs") as connection:
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            arrival = run.tags.get("dagster/partition")
            if arrival and is_of(run, names) and not in_progress(connection, [arrival]):
                instance.report_run_failed(run, "its process is gone; the arrival is taken up again")
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
                abandoned.append(run.run_id)
    return abandoned
