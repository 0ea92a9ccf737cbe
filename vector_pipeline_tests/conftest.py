"""A real Postgres for every test that asks for one, shared by all workers of a test run.

It is the embedded server, or, where TEST_DATABASE_URL names it, one of one's own; each test makes databases and roles of
its own there and drops them, for which it takes a superuser.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
import hypothesis
import psycopg
import pytest
from psycopg import sql

from vector_pipeline.store.connection import Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.schema import migrate
from vector_pipeline_tests.support.object_store import serve_store

# A busy machine is no failure of a property.
hypothesis.settings.register_profile("without deadline", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("without deadline")

# Fixtures that tests of several rooms use.
pytest_plugins = ["vector_pipeline_tests.support.pipelines"]

ROOMS_OF_DAGSTER = {"cli", "defs", "local"}
HOME_OF_RUN = "HOME_OF_TEST_RUN"
SERVER_ENDS_SECONDS = 15.0

OWN_SERVER = "TEST_DATABASE_URL"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("VECTOR_PIPELINE_", "OPENAI_", "DAGSTER_")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)


def pytest_configure(config: pytest.Config) -> None:
    """Make a home for the server of this run; its workers find it in their environment."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in the background of a script. The processes that tests interrupt would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        home = tempfile.mkdtemp(prefix="vector_pipeline_tests-")
        os.environ[HOME_OF_RUN] = home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow whatever starts Dagster or a command: the rooms of the doors."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in ROOMS_OF_DAGSTER:
            item.add_marker(pytest.mark.slow)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it, once the server has stopped, which it does soon after its last user is gone."""
    if not hasattr(config, "workerinput"):
        home = Path(os.environ.pop(HOME_OF_RUN))
        deadline = time.monotonic() + SERVER_ENDS_SECONDS
        while (home / "postgres/data/postmaster.pid").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The URL of a server that the workers of one run share."""
    if OWN_SERVER in os.environ:
        yield os.environ[OWN_SERVER]
        return
    with EmbeddedServer.start(Path(os.environ[HOME_OF_RUN])) as server:
        yield server.url


@pytest.fixture
def fresh_database_url(database_url: str) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name)))
    yield urlsplit(database_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(fresh_database_url: str) -> Database:
    """An empty database with the pipeline's tables."""
    database = Database(fresh_database_url)
    migrate(database)
    return database


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket on a real S3 server (moto's, over HTTP)."""
    with serve_store("127.0.0.1") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("texts")
        yield "s3://texts"
        fsspec.get_filesystem_class("s3").clear_instance_cache()
