"""Paid answers are never lost: not while Postgres is away, and not by two runs that want the same texts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from vector_pipeline.embedding.client import EmbeddingInput
from vector_pipeline.errors import DatabaseUnavailable
from vector_pipeline.settings import Settings
from vector_pipeline.stages.asking import client_config
from vector_pipeline.stages.embeddings import EmbedResult, embed_plan
from vector_pipeline.stages.model import targets
from vector_pipeline.stages.pipeline import Pipeline, open_pipeline
from vector_pipeline.stages.schemas import PlannedText
from vector_pipeline.store import spaces, vectors
from vector_pipeline_tests.embedding.asking import many
from vector_pipeline_tests.openai_server import RunningServer, ServerConfig, serve


@contextmanager
def opened(home: Path, url: str, server: RunningServer, **values: Any) -> Iterator[Pipeline]:
    settings = Settings.of(home=home, database_url=url, openai_base_url=server.url, openai_api_key="sk-test", **values)
    with open_pipeline(settings) as pipeline:
        yield pipeline


def embed(pipeline: Pipeline, inputs: list[EmbeddingInput], per_request: int = 20) -> EmbedResult:
    with pipeline.database.connect() as connection:
        (target,) = targets(connection, pipeline.settings)
    plan = [
        PlannedText(number // per_request, target.name, i.content_hash, i.text, i.tokens)
        for number, i in enumerate(inputs)
    ]
    return embed_plan(pipeline, plan, client_config(pipeline.settings))


def missing(pipeline: Pipeline, inputs: list[EmbeddingInput]) -> int:
    with pipeline.database.connect() as connection:
        space = spaces.active_space(connection)
        assert space is not None
        return len(vectors.missing(connection, space, [i.content_hash for i in inputs]))


def billed(server: RunningServer) -> int:
    """Texts that the server answered and wants money for."""
    return sum(server.seen.billed.values())


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


@pytest.mark.parametrize("model", ["text-embedding-3-small", "somebodys/own-model"])
def test_answers_that_postgres_never_took_are_kept_in_a_file_and_stored_by_the_next_run(
    tmp_path: Path, fresh_database_url: str, model: str
) -> None:
    inputs = many(60)
    with (
        serve(ServerConfig(model=model, latency=1.0)) as server,
        opened(tmp_path, fresh_database_url, server, model=model, retry_seconds=1.0) as pipeline,
    ):
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(embed, pipeline, inputs, 60)
            server.wait_for_requests(1)
            with away(fresh_database_url), pytest.raises(DatabaseUnavailable, match=r"kept in .*spilled.* next run"):
                run.result()
        assert billed(server) == 60
        assert len(list((tmp_path / "spilled").rglob("*.npz"))) == 1

        more = embed(pipeline, [*inputs, *many(5, start=60)])
        assert missing(pipeline, inputs) == 0
        assert (more.usage.inputs, billed(server)) == (5, 65)
        assert list((tmp_path / "spilled").rglob("*.npz")) == []


def test_two_runs_that_want_the_same_texts_pay_for_them_once(tmp_path: Path, fresh_database_url: str) -> None:
    inputs = many(200)
    start = threading.Barrier(2)

    def run(pipeline: Pipeline, wanted: list[EmbeddingInput]) -> EmbedResult:
        start.wait()
        return embed(pipeline, wanted)

    with (
        serve(ServerConfig(latency=0.2)) as server,
        opened(tmp_path, fresh_database_url, server) as pipeline,
        ThreadPoolExecutor(2) as pool,
    ):
        runs = [pool.submit(run, pipeline, wanted) for wanted in (inputs, inputs[::-1])]
        results = [run.result() for run in runs]
        assert missing(pipeline, inputs) == 0
        assert billed(server) == 200
        assert sum(result.stored for result in results) == 200


def test_a_plan_made_before_a_model_had_a_space_is_sent_once_another_run_made_it(
    tmp_path: Path, fresh_database_url: str
) -> None:
    model = "somebodys/own-model"
    with (
        serve(ServerConfig(model=model)) as server,
        opened(tmp_path, fresh_database_url, server, model=model) as pipeline,
    ):
        embed(pipeline, many(5))
        later = many(5, start=5)
        plan = [PlannedText(0, model, i.content_hash, i.text, i.tokens) for i in later]
        assert embed_plan(pipeline, plan, client_config(pipeline.settings)).stored == 5
        assert missing(pipeline, later) == 0
