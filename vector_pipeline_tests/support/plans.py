"""Plans of texts, embedded through a pipeline that a test opens on its server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vector_pipeline.embedding.client import EmbeddingInput
from vector_pipeline.pipeline.model import client_config, targets
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.stages.embeddings.plan import EmbedResult, embed_plan
from vector_pipeline.stages.streams import PlannedText
from vector_pipeline.store import vectors
from vector_pipeline.store.space import active_space
from vector_pipeline_tests.support.openai_server import RunningServer


@contextmanager
def opened(home: Path, url: str, server: RunningServer, **values: Any) -> Iterator[Pipeline]:
    settings = Settings.of(home=home, database_url=url, openai_base_url=server.url, openai_api_key="sk-test", **values)
    with open_pipeline(settings) as pipeline:
        yield pipeline


def embed(
    pipeline: Pipeline, inputs: list[EmbeddingInput], per_request: int = 20, result: EmbedResult | None = None
) -> EmbedResult:
    with pipeline.database.connect() as connection:
        (target,) = targets(connection, pipeline.settings)
    plan = [
        PlannedText(number // per_request, target.name, i.content_hash, i.text, i.tokens)
        for number, i in enumerate(inputs)
    ]
    return embed_plan(pipeline, plan, client_config(pipeline.settings), result=result)


def missing(pipeline: Pipeline, inputs: list[EmbeddingInput]) -> int:
    with pipeline.database.connect() as connection:
        space = active_space(connection)
        assert space is not None
        return len(vectors.missing(connection, space, [i.content_hash for i in inputs]))


def billed(server: RunningServer) -> int:
    """Texts that the server answered and wants money for."""
    return sum(server.seen.billed.values())
