"""What the tests of the client share: inputs, and a client against a server made for the test."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import SecretStr

from vector_pipeline.embedding import flow
from vector_pipeline.embedding.client import Answer, ClientConfig, EmbeddingClient, EmbeddingInput, Usage
from vector_pipeline.embedding.pacing.pacer import LocalPacer, Pacer
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline_tests.support.openai_server import RunningServer
from vector_pipeline_tests.support.openai_server.embedding import vector_of

KEY = "sk-of-the-test"


def inputs(*texts: str) -> list[EmbeddingInput]:
    """Texts as the client takes them."""
    return [
        EmbeddingInput(text, tokenizer_for("").count(text), hashlib.blake2b(text.encode(), digest_size=16).digest())
        for text in texts
    ]


def many(count: int, start: int = 0) -> list[EmbeddingInput]:
    """Distinct texts."""
    return inputs(*(f"text number {n} about the garden of the library" for n in range(start, start + count)))


def config(server: RunningServer, **values: Any) -> ClientConfig:
    """A client's configuration for a server, patient enough for a test and no more."""
    defaults = {"timeout_seconds": 5.0, "retry_seconds": 20.0, "api_key": SecretStr(KEY), "dimensions": 1_536}
    return ClientConfig(**{"model": "text-embedding-3-small", "base_url": server.url, **defaults, **values})


def embed(server: RunningServer, asked: Sequence[EmbeddingInput], pacer: Pacer | None = None, **values: Any) -> Answer:
    """The answer to one request."""

    async def main() -> Answer:
        async with EmbeddingClient(config(server, **values), pacer or LocalPacer()) as client:
            return await client.embed(asked)

    return asyncio.run(main())


def embed_batches(
    server: RunningServer,
    batches: Iterable[Sequence[EmbeddingInput]],
    deliver: Callable[[Answer], Awaitable[None]] | None = None,
    pacer: Pacer | None = None,
    **values: Any,
) -> tuple[list[Answer], Usage]:
    """The answers to many requests, as they came, and what was used."""
    answers: list[Answer] = []

    async def keep(answer: Answer) -> None:
        answers.append(answer)

    async def main() -> Usage:
        async with EmbeddingClient(config(server, **values), pacer or LocalPacer()) as client:
            return await flow.embed_batches(client, batches, deliver or keep, max_in_flight=client.config.max_in_flight)

    usage = asyncio.run(main())
    return answers, usage


def assert_right(answer: Answer, dimensions: int = 1_536) -> None:
    """Each vector is that of its own text."""
    assert answer.vectors.dtype == np.float32
    assert answer.vectors.shape == (len(answer.inputs), dimensions)
    for asked, vector in zip(answer.inputs, answer.vectors, strict=True):
        np.testing.assert_allclose(vector, vector_of(asked.text, dimensions), atol=1e-6)
