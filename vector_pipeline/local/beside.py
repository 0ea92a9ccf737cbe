"""Find the instance of the `dg dev` or `dagster dev` that runs for the project which the command line stands in.

Without DAGSTER_HOME such a `dev` keeps its instance in a folder `.tmp_dagster_home_…` of the project, which it deletes
when it ends; DAGSTER_HOME may also come from the `.env` of the project, or from another shell. So only the process
itself knows the place. Nothing in the folder decides it: a folder that was copied here cannot name an instance.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

# How `dagster dev` starts its daemon, and how it names its temporary folders (Dagster 1.12 and 1.13).
DAEMON = "dagster._daemon"
INSTANCE = "--instance-ref"
TEMPORARY = ".tmp_dagster_home_*"


@dataclass(frozen=True, slots=True)
class InstancePlace:
    """Where an instance keeps its files."""

    folder: Path
    """The folder of its files."""
    config: Path
    """The folder of its dagster.yaml, which need not exist."""
    project: Path | None = None
    """The project or workspace for which it runs; None: the pipeline's own instance."""


def running_place(folder: Path) -> InstancePlace | None:
    """The place of the instance that runs for the project of a folder; None if there is no project or none runs.

    It belongs to a process of this user that was started in the project's root, or in that of its workspace.
    """
    roots = list(_roots(folder))
    if not roots:
        return None
    daemons = list(_daemons())
    places = (_place(root, daemon) for root in roots for daemon in daemons if daemon.folder == root)
    return next((place for place in places if place is not None), None)


def _roots(folder: Path) -> Iterator[Path]:
    """The roots of the projects and workspaces that hold a folder, the innermost first."""
    folder = folder.resolve()
    for parent in (folder, *folder.parents):
        if (parent / "dg.toml").is_file() or (parent / "workspace.yaml").is_file() or _is_project(parent):
            yield parent


def _is_project(folder: Path) -> bool:
    try:
        tools = tomllib.loads((folder / "pyproject.toml").read_text("utf-8")).get("tool", {})
    except (OSError, ValueError):
        return False
    return not {"dg", "dagster"}.isdisjoint(tools)


@dataclass(frozen=True, slots=True)
class _Daemon:
    """The daemon of a `dev`."""

    folder: Path
    """The folder that it was started in."""
    home: str
    """Its DAGSTER_HOME; empty without one."""
    instance: frozenset[str]
    """All values of its instance, paths among them."""


def _daemons() -> Iterator[_Daemon]:
    """The daemon of every `dev` of this user."""
    import psutil  # it takes 20 ms, and is not needed outside a project

    for process in psutil.process_iter():
        try:
            arguments = process.cmdline()
            if DAEMON in arguments and INSTANCE in arguments[:-1] and process.uids().real == os.getuid():
                instance = _values(arguments[arguments.index(INSTANCE) + 1])
                yield _Daemon(Path(process.cwd()), process.environ().get("DAGSTER_HOME", ""), instance)
        except psutil.Error:
            continue  # it has ended, or is another user's


def _place(root: Path, daemon: _Daemon) -> InstancePlace | None:
    if daemon.home:
        return InstancePlace(Path(daemon.home), Path(daemon.home), root)
    found = (folder for folder in root.glob(TEMPORARY) if _lies_in(folder, daemon.instance))
    return next((InstancePlace(folder, root, root) for folder in found), None)


def _lies_in(folder: Path, values: frozenset[str]) -> bool:
    """Whether one of some values is a folder, or a path inside it."""
    return any(value == str(folder) or value.startswith(f"{folder}/") for value in values)


def _values(instance: str) -> frozenset[str]:
    """All values of an instance as Dagster hands it on: JSON, with YAML in it that breaks long lines between words."""
    try:
        return frozenset(_strings(json.loads(instance)))
    except (ValueError, yaml.YAMLError):
        return frozenset()


def _strings(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, name)
    elif isinstance(value, str):
        yield from _strings(yaml.safe_load(value)) if name == "config_yaml" else (value,)
