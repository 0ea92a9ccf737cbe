"""Paid answers are never lost while Postgres is away, restarts or refuses them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql

from vector_pipeline.errors import DatabaseError, DatabaseUnavailable
from vector_pipeline.pipeline.model import client_config, targets
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.embeddings.plan import EmbedResult, embed_plan
from vector_pipeline.stages.streams import PlannedText
from vector_pipeline.store.shared.spending import spent_today
from vector_pipeline_tests.support.asking import many
from vector_pipeline_tests.support.interrupted_run import TEXTS
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve
from vector_pipeline_tests.support.plans import billed, embed, missing, opened
from vector_pipeline_tests.support.proxy import Fate, proxy_to

pytestmark = pytest.mark.slow


@contextmanager
def away(url: str) -> Iterator[None]:
    """The database refuses connections, and those that there were are gone."""
    name = url.split("@/")[1].split("?")[0]
    with psycopg.connect(url.replace(f"@/{name}?", "@/postgres?"), autocommit=True) as admin:
        allow = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
        admin.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            admin.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """Whoever connects to the database from now on may only read."""
    name = url.split("@/")[1].split("?")[0]
    with psycopg.connect(url.replace(f"@/{name}?", "@/postgres?"), autocommit=True) as admin:
        database = sql.Identifier(name)
        admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
        try:
            yield
        finally:
            admin.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "first"),
    # The first text of a model whose dimensions only its answer tells goes alone.
    [("text-embedding-3-small", 60), ("somebodys/own-model", 1)],
)
def test_answers_that_postgres_never_took_are_kept_in_a_file_and_stored_by_the_next_run(
    tmp_path: Path, fresh_database_url: str, model: str, first: int
) -> None:
    asked = many(60)
    with (
        serve(ServerConfig(model=model, latency=1.0)) as server,
        opened(tmp_path, fresh_database_url, server, model=model, retry_seconds=1.0) as pipeline,
    ):
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(embed, pipeline, asked, 60)
            server.wait_for_requests(1)
            with away(fresh_database_url), pytest.raises(DatabaseUnavailable, match=r"kept in .*spilled.* next run"):
                run.result()
        assert billed(server) == first
        assert len(list((tmp_path / "spilled").rglob("*.npz"))) == 1

        more = embed(pipeline, [*asked, *many(5, start=60)])
        assert missing(pipeline, asked) == 0
        assert (more.usage.inputs, billed(server)) == (65 - first, 65)
        assert list((tmp_path / "spilled").rglob("*.npz")) == []


def spent(pipeline: Pipeline) -> float:
    with pipeline.database.connect() as connection:
        return spent_today(connection)


def usd(server: RunningServer) -> float:
    """What the server wants for all that it answered."""
    return server.seen.tokens * 0.02 / 1_000_000


def test_an_answer_that_waited_for_postgres_is_stored_and_counted_once(tmp_path: Path, fresh_database_url: str) -> None:
    """The claims died with their connection meanwhile: giving them back fails, which is no failure of the answer's."""
    with (
        serve(ServerConfig(latency=1.0)) as server,
        opened(tmp_path, fresh_database_url, server, retry_seconds=6.0) as pipeline,
    ):
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(embed, pipeline, many(60), 60)
            server.wait_for_requests(1)
            with away(fresh_database_url):
                time.sleep(1.5)
            assert run.result().stored == 60
        assert missing(pipeline, many(60)) == 0
        assert spent(pipeline) == pytest.approx(usd(server))
    assert list((tmp_path / "spilled").rglob("*")) == []


def _after_copy(sign: bytes, fate: Fate) -> Callable[[bytes], Fate]:
    """The fate of the first bytes with a sign that come after vectors were copied."""
    seen: list[bytes] = []

    def judge(data: bytes) -> Fate:
        if b"PGCOPY" in data and not seen:
            seen.append(data)
        if len(seen) != 1 or sign not in data:
            return "pass"
        seen.append(data)
        return fate

    return judge


@pytest.mark.parametrize(
    ("sign", "fate"),
    [(b"PGCOPY", "cut"), (b"PGCOPY", "cut after"), (b"COMMIT", "cut"), (b"COMMIT", "cut after"), (b"answers", "cut")],
    ids=["before COPY", "within COPY", "before COMMIT", "after COMMIT, without its answer", "after the answer"],
)
def test_an_answer_whose_connection_broke_is_stored_and_counted_once(
    tmp_path: Path, fresh_database_url: str, sign: bytes, fate: Fate
) -> None:
    with (
        serve() as server,
        proxy_to(fresh_database_url) as proxy,
        opened(tmp_path, proxy.url, server, retry_seconds=30.0, max_cost_usd_per_day=1.0) as pipeline,
    ):
        proxy.judge = _after_copy(sign, fate)
        result = embed(pipeline, many(60), 60)
        assert (result.stored, billed(server)) == (60, 60)
        assert missing(pipeline, many(60)) == 0
        assert spent(pipeline) == pytest.approx(usd(server)) == pytest.approx(result.usd)


def test_a_run_whose_database_restarts_goes_on_by_itself(tmp_path: Path, fresh_database_url: str) -> None:
    with (
        serve(ServerConfig(latency=0.1)) as server,
        opened(tmp_path, fresh_database_url, server, retry_seconds=60.0, max_in_flight=2) as pipeline,
        ThreadPoolExecutor(1) as pool,
    ):
        run = pool.submit(embed, pipeline, many(400), 10)
        for requests in (3, 12, 25):
            server.wait_for_requests(requests)
            with away(fresh_database_url):
                time.sleep(0.3)
        result = run.result()
        assert (result.stored, result.usage.inputs) == (400, 400)
        assert missing(pipeline, many(400)) == 0
        assert billed(server) == 400
        assert spent(pipeline) == pytest.approx(usd(server))


def test_an_answer_is_kept_though_nothing_can_be_logged(tmp_path: Path, fresh_database_url: str) -> None:
    """On a full disk Dagster's log raises whatever it likes."""

    def fail(_: str) -> None:
        raise ValueError("database or disk is full")

    asked = many(60)
    with (
        serve(ServerConfig(latency=1.0)) as server,
        opened(tmp_path, fresh_database_url, server, retry_seconds=1.0) as pipeline,
        ThreadPoolExecutor(1) as pool,
    ):
        with pipeline.database.connect() as connection:
            (target,) = targets(connection, pipeline.settings)
        plan = [PlannedText(1, target.name, i.content_hash, i.text, i.tokens) for i in asked]
        config = client_config(pipeline.settings)
        run = pool.submit(lambda: embed_plan(pipeline, plan, config, log=fail, progress=fail))
        server.wait_for_requests(1)
        with away(fresh_database_url), pytest.raises(DatabaseUnavailable, match="kept in"):
            run.result()
        embed(pipeline, asked)
        assert billed(server) == 60


def test_a_run_whose_database_stays_away_says_so_in_one_line(tmp_path: Path, fresh_database_url: str) -> None:
    paid = EmbedResult()
    with (
        serve(ServerConfig(latency=0.2)) as server,
        opened(tmp_path, fresh_database_url, server, retry_seconds=1.0, max_in_flight=1) as pipeline,
        ThreadPoolExecutor(1) as pool,
    ):
        run = pool.submit(embed, pipeline, many(200), 10, paid)
        server.wait_for_requests(3)
        with away(fresh_database_url), pytest.raises(DatabaseUnavailable):
            run.result()
        assert paid.usage.inputs == billed(server)
        assert paid.usage.tokens == server.seen.tokens
        more = embed(pipeline, many(200))
        assert missing(pipeline, many(200)) == 0
        assert billed(server) == 200 == paid.usage.inputs + more.usage.inputs
        assert spent(pipeline) == pytest.approx(usd(server))


def test_what_was_paid_for_a_kept_answer_is_counted_when_it_is_stored(tmp_path: Path, fresh_database_url: str) -> None:
    with (
        serve(ServerConfig(latency=1.0)) as server,
        opened(tmp_path, fresh_database_url, server, retry_seconds=0.5) as pipeline,
    ):
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(embed, pipeline, many(60), 60)
            server.wait_for_requests(1)
            with away(fresh_database_url), pytest.raises(DatabaseUnavailable):
                run.result()
        assert spent(pipeline) == 0
        embed(pipeline, many(60))
        assert spent(pipeline) == pytest.approx(usd(server))


def test_an_answer_that_postgres_refuses_is_kept(tmp_path: Path, fresh_database_url: str) -> None:
    """As after a failover: the server answers, and is read-only."""
    with (
        serve(ServerConfig(latency=1.0)) as server,
        opened(tmp_path, fresh_database_url, server, retry_seconds=1.0) as pipeline,
        ThreadPoolExecutor(1) as pool,
    ):
        run = pool.submit(embed, pipeline, many(60), 60)
        server.wait_for_requests(1)
        with read_only(fresh_database_url), pytest.raises(DatabaseError, match=r"read-only.*kept in .*spilled"):
            run.result()
        embed(pipeline, many(60))
        assert missing(pipeline, many(60)) == 0
        assert billed(server) == 60


def test_a_kept_answer_that_cannot_be_read_is_set_aside(tmp_path: Path, fresh_database_url: str) -> None:
    """A disk was full, or the machine lost its power: one file must not stop every run from then on."""
    with serve() as server, opened(tmp_path, fresh_database_url, server) as pipeline:
        folder = tmp_path / "spilled" / "text-embedding-3-small_1536"
        folder.mkdir(parents=True)
        (folder / "half.npz").write_bytes(b"PK\x03\x04 and no more")
        assert embed(pipeline, many(5)).stored == 5
        assert [path.name for path in folder.iterdir()] == ["half.npz.unreadable"]


def test_a_kept_answer_of_an_earlier_version_is_stored(tmp_path: Path, fresh_database_url: str) -> None:
    with serve() as server, opened(tmp_path, fresh_database_url, server) as pipeline:
        inputs = many(2)
        embed(pipeline, inputs[:1])
        folder = tmp_path / "spilled" / "text-embedding-3-small"
        folder.mkdir(parents=True)
        keys = np.frombuffer(inputs[1].content_hash, dtype="V16")
        np.savez(folder / "old.npz", hashes=keys, vectors=np.ones((1, 1_536), dtype=np.float32))
        assert embed(pipeline, inputs[1:]).usage.requests == 0
        assert not list(folder.iterdir())


def test_an_interrupted_run_that_has_sent_everything_waits_for_it(tmp_path: Path, fresh_database_url: str) -> None:
    with serve(ServerConfig(latency=2.0, tokens_per_minute=100_000_000)) as server:
        command = [sys.executable, "-m", "vector_pipeline_tests.support.interrupted_run", str(tmp_path)]
        run = subprocess.Popen([*command, fresh_database_url, server.url, "50"], stderr=subprocess.DEVNULL)
        server.wait_for_requests(5)
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) != 0
        with opened(tmp_path, fresh_database_url, server) as pipeline:
            assert missing(pipeline, many(50)) == 0
        assert billed(server) == 50


def test_an_interrupted_run_waits_for_what_it_has_sent(tmp_path: Path, fresh_database_url: str) -> None:
    """Ctrl-C: what is under way is billed, and would be paid for again."""
    with serve(ServerConfig(latency=0.5, tokens_per_minute=100_000_000)) as server:
        command = [sys.executable, "-m", "vector_pipeline_tests.support.interrupted_run"]
        run = subprocess.Popen([*command, str(tmp_path), fresh_database_url, server.url], stderr=subprocess.DEVNULL)
        server.wait_for_requests(12)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=60) != 0
        asked = many(TEXTS)
        assert 0 < billed(server) < TEXTS
        with opened(tmp_path, fresh_database_url, server) as pipeline:
            assert missing(pipeline, asked) == TEXTS - billed(server)
            embed(pipeline, asked)
            assert missing(pipeline, asked) == 0
        assert billed(server) == TEXTS
