"""`vector-pipeline ingest` in a process of its own, with an arrival for each file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def write_notes(folder: Path, count: int) -> Path:
    """Make a folder of some notes, each of one chunk."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_text(f"Note {number} is about the garden. 메모 {number}.")
    return folder


def start(
    home: Path, database_url: str, api: str, folder: Path, *options: str, ignores: str = ""
) -> subprocess.Popen[str]:
    """Start it. Signals reach only it, as if it had a terminal of its own.

    `ignores` names signals that it is started to ignore: HUP as under nohup, INT as in the background of a script.
    """
    environment = {
        **os.environ,
        "VECTOR_PIPELINE_HOME": str(home),
        "DATABASE_URL": database_url,
        "OPENAI_BASE_URL": api,
        "OPENAI_API_KEY": "sk-test",
        "VECTOR_PIPELINE_MAX_FILES_PER_ARRIVAL": "1",
    }
    environment.pop("DAGSTER_HOME", None)
    ignoring = ["sh", "-c", f"trap '' {ignores}; exec \"$@\"", "sh"] if ignores else []
    return subprocess.Popen(
        [*ignoring, sys.executable, "-m", "vector_pipeline.cli", "ingest", str(folder), *options],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
