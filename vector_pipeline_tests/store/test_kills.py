"""Loads and rebuilds that are killed in the middle: nothing partial is seen and nothing that was said is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.search.by_vector import search
from vector_pipeline_tests.support.corpus import load, scalar, vectors_of
from vector_pipeline_tests.support.endless_load import CHUNKS, EDITED, version

pytestmark = pytest.mark.slow


@pytest.fixture
def home() -> Iterator[Path]:
    # Not under pytest's own folder, whose long name would take the socket elsewhere.
    folder = Path(tempfile.mkdtemp(prefix="vp-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def start(url: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vector_pipeline_tests.support.endless_load", url, str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def loaded(worker: subprocess.Popen[str]) -> set[int]:
    """What a worker that is over had said it loaded."""
    output, _ = worker.communicate(timeout=60)
    return {int(line) for line in output.split()}


def first(worker: subprocess.Popen[str]) -> int:
    assert worker.stdout is not None
    return int(worker.stdout.readline())


def assert_whole(connection: Connection, said: set[int]) -> None:
    """Every file that was said to be loaded is there, and every file that is there is whole and searchable."""
    rows = connection.execute(
        "SELECT source, count(*), count(DISTINCT id), count(embedding) FROM document_chunks WHERE source <> %s "
        "GROUP BY source",
        (EDITED,),
    ).fetchall()
    assert {f"{number}.txt" for number in said} <= {row[0] for row in rows}
    assert all(counts == (CHUNKS, CHUNKS, CHUNKS) for _, *rest in rows for counts in [tuple(rest)])
    loaded_files = "SELECT path FROM source_files WHERE status = 'loaded' AND path <> %s"
    by_manifest = connection.execute(loaded_files, (EDITED,)).fetchall()
    assert sorted(row[0] for row in by_manifest) == sorted(row[0] for row in rows)
    edited = connection.execute(
        "SELECT chunk_index, start_char, page_content FROM document_chunks WHERE source = %s ORDER BY chunk_index",
        (EDITED,),
    ).fetchall()
    if edited:  # the first kill may have come before it
        number = int(edited[-1][2].removeprefix("end "))
        assert edited == [(i, i * 10, text) for i, text in enumerate(version(number))]


def assert_goes_on(database: Database, connection: Connection) -> None:
    """The next load and the next build work, and leave nothing of the killed ones."""
    load(connection, "A", {"last.txt": [f"last text {i}" for i in range(CHUNKS)], EDITED: version(7)})
    assert_whole(connection, set())
    (report,) = maintain_index(database, worth=CHUNKS)
    assert (report.indexed, report.landing) == (True, 0)
    assert len(search(connection, vectors_of(["last text 3"])[0], 10)) == 10
    assert (
        scalar(connection, "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_new' OR relname LIKE '%\\_new\\_%'")
        == 0
    )


@pytest.mark.parametrize("victim", ["client", "backend"])
def test_a_killed_client_or_backend_leaves_nothing_partial_and_loses_nothing(database: Database, victim: str) -> None:
    said: set[int] = set()
    moments = random.Random(7)
    for turn in range(5):
        worker = start(database.url, turn * 1_000)
        said.add(first(worker))
        time.sleep(moments.uniform(0.02, 0.6))
        if victim == "client":
            worker.kill()
        else:
            with database.connect() as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name LIKE 'vector_pipeline %' "
                    "AND pid <> pg_backend_pid()"
                )
        said |= loaded(worker)
        with database.connect() as connection:
            assert_whole(connection, said)
    with database.connect() as connection:
        assert_goes_on(database, connection)


def test_a_killed_server_leaves_nothing_partial_and_loses_nothing(home: Path) -> None:
    said: set[int] = set()
    moments = random.Random(7)
    for turn in range(3):
        with EmbeddedServer.start(home) as server:
            database = Database(server.url)
            migrate(database)
            worker = start(database.url, turn * 1_000)
            said.add(first(worker))
            time.sleep(moments.uniform(0.02, 0.6))
            with psycopg.connect(server.url) as connection:
                postmaster = int((home / "postgres/data/postmaster.pid").read_text().splitlines()[0])
                backend = connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE application_name = 'vector_pipeline endless load'"
                ).fetchone()
            # A backend that dies without a word has the server restart itself; then the server dies as well.
            os.kill(backend[0] if backend and turn == 0 else postmaster, signal.SIGKILL)
            said |= loaded(worker)
    with EmbeddedServer.start(home) as server:
        database = Database(server.url)
        with database.connect() as connection:
            assert_whole(connection, said)
            assert_goes_on(database, connection)
