"""Dagster's instance for the command line and for `dev`: its folder, its dagster.yaml, and its started runs.

This module does not import Dagster, because that import takes longer than an `ingest` that has nothing to do.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vector_pipeline.errors import ConfigurationError, one_line
from vector_pipeline.local.beside import InstancePlace
from vector_pipeline.local.own_config import write_own_config
from vector_pipeline.redaction import hide
from vector_pipeline.settings import Settings, variable

if TYPE_CHECKING:
    import dagster as dg

# Keys of dagster.yaml with which runs are not kept in the SQLite files under the instance's folder.
STORAGE_KEYS = frozenset(
    {
        "storage",
        "run_storage",
        "event_log_storage",
        "schedule_storage",
        "local_artifact_storage",
        "instance_class",
    }
)


def dagster_home(settings: Settings) -> Path:
    """The instance's folder. It is created with our dagster.yaml if it lacks one.

    Raises ConfigurationError if it cannot be written.
    """
    home = (settings.dagster_home or settings.home / "dagster").absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        config = home / "dagster.yaml"
        if not config.exists():
            write_own_config(config)
    except OSError as error:
        raise ConfigurationError(
            f"{home} cannot be written ({error.strerror}); give this user the right to, or set {variable('home')} "
            f"to another folder"
        ) from error
    return home


def own_place(settings: Settings) -> InstancePlace:
    """The place of the instance that the settings name. Raises ConfigurationError if it cannot be written."""
    home = dagster_home(settings)
    return InstancePlace(home, home)


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance in `dagster_home`."""
    import dagster as dg

    home = dagster_home(settings)
    try:
        with _one_at_a_time(home):
            return dg.DagsterInstance.from_config(str(home))
    except Exception as error:
        raise _unusable(home, error) from error


def open_instance_in_process(settings: Settings, place: InstancePlace | None = None) -> dg.DagsterInstance:
    """Open an instance for runs in this process: connections are kept, and output stays on the terminal.

    The default of `place` is that of the settings.

    To copy output Dagster starts four processes a run, and it would write a live display to the file. If dagster.yaml
    configures the place of output or runs, that is used. Dagster has no public way to replace parts of an instance: if a
    version lacks a part, its own part is used.
    """
    import dagster as dg

    place = place or own_place(settings)
    folder, config = str(place.folder), str(place.config)
    try:
        overrides = _overrides(place)
        try:
            from dagster._core.instance import InstanceRef
        except ImportError:
            return dg.DagsterInstance.from_config(config)
        with _one_at_a_time(place.folder):
            return dg.DagsterInstance.from_ref(InstanceRef.from_dir(folder, config_dir=config, overrides=overrides))
    except Exception as error:
        raise _unusable(place.config, error) from error


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time open the instance in a folder: two fail where both create Dagster's files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without such locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _overrides(place: InstancePlace) -> dict[str, Any]:
    """Our own parts of the instance, for those that dagster.yaml does not configure."""
    config = _config(place)
    overrides: dict[str, Any] = {}
    if "compute_logs" not in config:
        overrides["compute_logs"] = _part("terminal_logs", "TerminalLogs", place.folder / "storage")
    if STORAGE_KEYS.isdisjoint(config):
        history = place.folder / "history"
        overrides["run_storage"] = _part("sqlite_storage", "KeptRunStorage", history)
        overrides["event_log_storage"] = _part("sqlite_storage", "KeptEventLog", history / "runs")
    return {key: part for key, part in overrides.items() if part is not None}


def _part(module: str, name: str, folder: Path) -> dict[str, Any] | None:
    """The configuration of one of our parts; None if this version of Dagster lacks its base classes."""
    module = f"vector_pipeline.local.{module}"
    try:
        importlib.import_module(module)
    except (ImportError, AttributeError):
        return None
    return {"module": module, "class": name, "config": {"base_dir": str(folder)}}


def may_have_started_runs(settings: Settings, place: InstancePlace | None = None) -> bool:
    """Whether Dagster may list a run as started: one that is under way, or one that died with its process.

    It reads Dagster's file of runs, which takes a millisecond. If runs are kept elsewhere or the file cannot be read, it
    returns True, and the caller asks Dagster. Raises ConfigurationError if the folder cannot be written.
    """
    place = place or own_place(settings)
    try:
        if not STORAGE_KEYS.isdisjoint(_config(place)):
            return True
        address = (place.folder / "history" / "runs.db").as_uri() + "?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            found = connection.execute("SELECT EXISTS (SELECT 1 FROM runs WHERE status = 'STARTED')").fetchone()
    except (sqlite3.Error, OSError, ValueError, yaml.YAMLError):
        return True
    return bool(found[0])


def _config(place: InstancePlace) -> dict[str, Any]:
    path = place.config / "dagster.yaml"
    if place.project is not None and not path.exists():
        return {}  # a project need not have one
    config = yaml.safe_load(path.read_text("utf-8")) or {}
    if not isinstance(config, dict):
        raise ValueError("no mapping of keys")
    return config


def unusable_files(folder: Path, error: sqlite3.Error) -> str:
    """A line about Dagster's SQLite files under a folder, which may be on a full disk."""
    return (
        f"Dagster's files under {folder} cannot be used ({one_line(error)}): make room there, and give this user the "
        "right to write there; what was paid for and loaded is kept, and the next run continues from there"
    )


def _unusable(home: Path, error: Exception) -> ConfigurationError:
    original = getattr(error, "orig", error)  # SQLAlchemy's error holds that of the driver
    if isinstance(original, sqlite3.Error):
        return ConfigurationError(unusable_files(home, original))
    # It may quote the address of Dagster's database.
    return ConfigurationError(f"Dagster cannot use {home / 'dagster.yaml'}: {hide(' '.join(str(error).split()))[:300]}")
