"""`ingest --watch`: one process stays, and each change is loaded as it happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import psycopg
import pytest

from vector_pipeline_tests.cli.test_commands import COMMAND


@pytest.fixture
def environment(tmp_path: Path, fresh_database_url: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": fresh_database_url, "VECTOR_PIPELINE_HOME": str(tmp_path / "home")}


@contextmanager
def watching(environment: dict[str, str], source: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, "ingest", source, "--watch", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr and process.stderr.read()
    found: dict[str, Any] = json.loads(line)
    return found


def until_it_watches(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    while "watching" not in (line := process.stderr.readline()):
        assert line


def texts(environment: dict[str, str]) -> set[str]:
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        return {row[0] for row in connection.execute("SELECT page_content FROM document_chunks")}


def test_each_change_of_a_folder_is_loaded_by_the_process_that_stays(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "bees.txt").write_text("Bees make honey.")
    with watching(environment, str(folder)) as process:
        assert report(process)["files"]["loaded"] == 1
        until_it_watches(process)
        (folder / "bees.txt").write_text("Bees make wax.")
        assert report(process)["files"]["loaded"] == 1
        assert texts(environment) == {"Bees make wax."}
        (folder / "deep").mkdir()
        (folder / "deep" / "hives.txt").write_text("Hives stand on the roof.")
        assert report(process)["files"]["loaded"] == 1
        (folder / "bees.txt").unlink()
        assert report(process)["files"]["deleted"] == 1
        assert texts(environment) == {"Hives stand on the roof."}
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_a_file_that_cannot_be_read_is_named_once(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "old.txt").write_text("")
    subprocess.run([*COMMAND, "ingest", str(folder)], env=environment, capture_output=True, check=False)
    with subprocess.Popen(
        [*COMMAND, "ingest", str(folder), "--watch"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            (folder / "new.txt").write_text("")
            assert "1 rejected" in process.stdout.readline()
            (folder / "bees.txt").write_text("Bees make honey.")
            assert "1 loaded" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, printed = process.communicate(timeout=60)
        finally:
            process.kill()
    for name in ("old.txt", "new.txt"):
        assert printed.count(f"vector-pipeline: rejected {name}: holds no text; ") == 1, printed


def test_a_bucket_is_scanned_every_few_seconds(environment: dict[str, str], bucket: str) -> None:
    environment = {
        **environment,
        **{name: value for name, value in os.environ.items() if "AWS" in name or "FSSPEC" in name},
    }
    with fsspec.open(f"{bucket}/bees.txt", "w") as file:
        file.write("Bees make honey.")
    with watching(environment, bucket) as process:
        assert report(process)["files"]["loaded"] == 1
        until_it_watches(process)
        with fsspec.open(f"{bucket}/hives.txt", "w") as file:
            file.write("Hives stand on the roof.")
        assert report(process)["files"]["loaded"] == 1
        assert texts(environment) == {"Bees make honey.", "Hives stand on the roof."}


def test_a_source_that_is_not_there_ends_it_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    with watching(environment, str(tmp_path / "nowhere")) as process:
        assert process.wait(60) == 2
