"""A run that was stopped while another took over its arrival writes nothing when it wakes, whatever it was writing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from vector_pipeline.errors import TakenOver
from vector_pipeline.pipeline.model import client_config
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.stages.embeddings.plan import embed_plan
from vector_pipeline.store import vectors
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.failed_arrivals import fail_attempt
from vector_pipeline.store.fencing import is_current
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.lexical.maintenance import FIRST, maintain_lexical
from vector_pipeline.store.lexical.segments import flush_landing
from vector_pipeline.store.manifest import finish_attempt, reject_files
from vector_pipeline.store.rows import load_sources
from vector_pipeline.store.run_locks import RunLocks
from vector_pipeline.store.shared.spending import spent_today
from vector_pipeline.store.space import active_space
from vector_pipeline_tests.support.asking import inputs
from vector_pipeline_tests.support.corpus import embed, key_of, load, own, rows_of
from vector_pipeline_tests.support.dev import wait_for
from vector_pipeline_tests.support.openai_server import ServerConfig, serve
from vector_pipeline_tests.support.sleeper import ARRIVAL, ROLE, text_of

pytestmark = pytest.mark.slow

FILES = ("a", "b", "c")


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(role="test") as connection:
        yield connection


@contextmanager
def sleeper(kind: str, url: str, *rest: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "vector_pipeline_tests.support.sleeper", kind, url, *rest]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until_it_waits(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n", process.communicate()[1]


def woken(process: subprocess.Popen[str]) -> str:
    """What it says at its end, once it goes on."""
    process.send_signal(signal.SIGCONT)
    return process.communicate("\n", timeout=60)[1].strip()


def end_sessions(connection: Connection, *roles: str) -> None:
    """As the server does that has not heard of a client for too long; all of them where none is named."""
    names = [f"vector_pipeline {role}" for role in roles]
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND "
        "pid <> pg_backend_pid() AND (%s = '{}' OR application_name = ANY(%s))",
        (names, names),
    )


TABLES = (
    "source_files",
    "arrivals",
    "chunks",
    "chunk_sections",
    "unreferenced_hashes",
    "rejected_texts",
    "lexical_landing",
    "lexical_segments",
    "lexical_texts",
    "lexical_postings",
    "lexical_blocks",
    "lexical_backlog",
    "recall_queries",
    "row_counts",
    "spaces",
    "vector_pipeline_shared.spending",
)


def everything(connection: Connection) -> dict[str, list[Any]]:
    """All rows, and the transaction that wrote each."""
    space = active_space(connection)
    tables = [*TABLES, *((space.embeddings, space.landing) if space else ())]
    query = "SELECT xmin::text, t::text FROM {} t ORDER BY 2"
    return {table: connection.execute(query.format(table).encode()).fetchall() for table in tables}


def prepare(connection: Connection, folder: Path, paths: Sequence[str], *, gone: bool = False) -> None:
    """Files of an arrival that are on disk, listed and embedded."""
    own(connection, ARRIVAL, paths, gone=gone)
    embed(connection, list(map(text_of, paths)))
    source = LocalSource(str(folder))
    for path in paths:
        (folder / path).write_text(text_of(path))
        connection.execute(
            "UPDATE source_files SET root = %s, fingerprint = CASE WHEN gone THEN '' ELSE %s END WHERE path = %s",
            (str(folder), source.fingerprint(path), path),
        )


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        *((kind, ROLE) for kind in ("rows", "deletions", "documents", "rejections", "failure", "end")),
        ("rows", ""),
        ("documents", ""),
    ],
)
def test_a_run_that_wakes_after_another_took_over_writes_nothing(
    database: Database, connection: Connection, tmp_path: Path, kind: str, lost: str
) -> None:
    paths = ("a.txt", "b.txt", "c.txt") if kind == "documents" else FILES
    prepare(connection, tmp_path, paths, gone=kind == "deletions")
    if kind in ("rows", "rejections"):
        connection.execute("UPDATE source_files SET fingerprint = '1'")
    if kind == "end":
        connection.execute("UPDATE source_files SET status = 'loaded'")
    with sleeper(kind, database.url) as process:
        until_it_waits(process)
        process.send_signal(signal.SIGSTOP)
        end_sessions(connection, *filter(None, [lost]))
        with RunLocks(database, "successor") as locks:
            assert locks.hold_arrival(ARRIVAL) is False
            before = everything(connection)
            said = woken(process)
            assert everything(connection) == before
    if lost == ROLE and kind in ("rows", "deletions"):
        assert said.startswith("TakenOver: arrival A1 was taken over by another run")


def test_a_run_that_wakes_and_has_not_been_replaced_goes_on(
    database: Database, connection: Connection, tmp_path: Path
) -> None:
    prepare(connection, tmp_path, FILES)
    connection.execute("UPDATE source_files SET fingerprint = '1'")
    with sleeper("rows", database.url) as process:
        until_it_waits(process)
        process.send_signal(signal.SIGSTOP)
        end_sessions(connection, ROLE)
        assert woken(process) == ""
    assert connection.execute("SELECT count(*) FROM chunks").fetchone() == (3,)


def test_an_answer_that_comes_after_another_took_over_is_kept_for_the_next_run_and_not_paid_again(
    database: Database, connection: Connection, tmp_path: Path
) -> None:
    own(connection, ARRIVAL, FILES)
    with serve(ServerConfig(latency=1.0)) as server:
        with sleeper("vectors", database.url, str(tmp_path / "sleeper"), server.url) as process:
            server.wait_for_requests(1)
            process.send_signal(signal.SIGSTOP)
            end_sessions(connection, ROLE, "answers")
            with RunLocks(database, "successor") as locks:
                locks.hold_arrival(ARRIVAL)
                before = everything(connection)
                said = woken(process)
                assert everything(connection) == before
        assert said.startswith("DatabaseError: ")
        assert "taken over by another run" in said
        assert "kept in" in said
        settings = Settings.of(
            home=tmp_path / "sleeper", database_url=database.url, openai_base_url=server.url, openai_api_key="sk-test"
        )
        with open_pipeline(settings) as pipeline:
            embed_plan(pipeline, [], client_config(settings))
        space = active_space(connection)
        assert space is not None
        asked = {text.content_hash for text in inputs("one", "two", "three")}
        assert len(vectors.missing(connection, space, asked)) == 3 - sum(server.seen.billed.values())
        assert spent_today(connection) > 0


@pytest.mark.parametrize("line", ["building the index", "building with", "measuring"])
def test_the_index_is_left_alone_by_a_process_that_wakes_after_another_kept_it(
    database: Database, connection: Connection, line: str
) -> None:
    load(connection, ARRIVAL, {"a": [f"text {number}" for number in range(60)]})
    with sleeper("index", database.url, line) as process:
        until_it_waits(process)
        process.send_signal(signal.SIGSTOP)
        end_sessions(connection, "vector index")
        (report,) = maintain_index(database, worth=1)
        assert (report.indexed, report.landing) == (True, 0)
        before = everything(connection)
        assert woken(process) != ""
        assert everything(connection) == before


@pytest.mark.parametrize("line", ["1,000 texts of earlier loads", "2,000 landed texts", "merging"])
def test_the_terms_are_left_alone_by_a_process_that_wakes_after_another_kept_them(
    database: Database, connection: Connection, line: str
) -> None:
    for part in range(4 if line == "merging" else 1):
        texts = [f"text {part} {number}" for number in range(2_000)]
        load(connection, ARRIVAL, {str(part): texts}, str(part))
        if part < 3 and line == "merging":
            flush_landing(connection)
    if line.startswith("1,000"):
        connection.execute("TRUNCATE lexical_landing")
        connection.execute("INSERT INTO lexical_backlog (after) VALUES (%s)", (FIRST,))
    with sleeper("lexical", database.url, line) as process:
        until_it_waits(process)
        process.send_signal(signal.SIGSTOP)
        end_sessions(connection, "lexical index")
        assert maintain_lexical(database) is not None
        before = everything(connection)
        assert woken(process) != ""
        assert everything(connection) == before


def test_a_scan_that_wakes_after_another_one_registers_nothing(
    database: Database, connection: Connection, tmp_path: Path
) -> None:
    for name in FILES:
        (tmp_path / f"{name}.txt").write_text(name)
    with sleeper("scanning", database.url, str(tmp_path)) as process:
        until_it_waits(process)
        process.send_signal(signal.SIGSTOP)
        end_sessions(connection, "scan")
        before = everything(connection)
        assert woken(process) != ""
        assert everything(connection) == before


def test_a_successor_waits_for_a_transaction_that_is_writing_and_for_one_that_was_stopped_no_longer_than_allowed(
    database: Database, connection: Connection
) -> None:
    database = replace(database, idle_in_transaction_seconds=1)
    own(connection, ARRIVAL, ["a"])
    embed(connection, ["text"])
    with RunLocks(database, "first", look_every_seconds=60) as first:
        first.hold_arrival(ARRIVAL)
        with database.owned_by(first.owner(ARRIVAL)).connect() as stopped, suppress(Exception), stopped.transaction():
            load_sources(stopped, ARRIVAL, [rows_of("a", ["text"])])
            end_sessions(connection, "first")
            with RunLocks(database, "second") as second:
                second.hold_arrival(ARRIVAL)
        wait_for(lambda: stopped.closed or stopped.broken, 5)
        with database.owned_by(first.owner(ARRIVAL)).connect() as late, pytest.raises(TakenOver):
            load_sources(late, ARRIVAL, [rows_of("a", ["text"])])
    assert connection.execute("SELECT count(*) FROM chunks").fetchone() == (0,)


def test_two_owners_that_were_given_the_same_number_by_two_servers_are_told_apart(
    database: Database, connection: Connection, database_url: str
) -> None:
    """A copy of the database from before a run took over stands for a server that lacks that transaction."""
    own(connection, ARRIVAL, ["a"])
    embed(connection, ["text"])
    connection.close()
    name = f"{urlsplit(database.url).path[1:]}_copy"
    with psycopg.connect(database_url, autocommit=True) as server:
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(name.removesuffix("_copy"))
            )
        )
        try:
            url = urlsplit(database.url)._replace(path=f"/{name}").geturl()
            _write_as_both_owners(database, replace(database, url=url))
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _write_as_both_owners(database: Database, restored: Database) -> None:
    with RunLocks(database, "first", look_every_seconds=60) as locks:
        locks.hold_arrival(ARRIVAL)
        first = locks.owner(ARRIVAL)
    with RunLocks(restored, "second") as locks:
        locks.hold_arrival(ARRIVAL)
        second = locks.owner(ARRIVAL)
        assert second.number == first.number
        with restored.connect() as connection:
            assert is_current(connection, second)
            assert not is_current(connection, first)
            before = everything(connection)
            with restored.owned_by(first).connect() as late:
                with pytest.raises(TakenOver):
                    load_sources(late, ARRIVAL, [rows_of("a", ["text"])])
                fail_attempt(late, ARRIVAL, "a reason")
                reject_files(late, ARRIVAL, {(UUID(bytes=key_of("a")), "1"): "a reason"})
                finish_attempt(late, ARRIVAL)
            assert everything(connection) == before
            with restored.owned_by(second).connect() as owner:
                load_sources(owner, ARRIVAL, [rows_of("a", ["text"])])
            assert connection.execute("SELECT count(*) FROM chunks").fetchone() == (1,)
