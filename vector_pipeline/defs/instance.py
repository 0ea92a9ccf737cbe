"""Dagster's instance for the command line and for `dev`: its folder and its dagster.yaml."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import dagster as dg

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import Settings, variable


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
