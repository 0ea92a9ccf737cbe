"""Single texts to vectors: a search's question, and whatever other people's assets want embedded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vector_pipeline.embedding.models import EMBEDDED_MODEL
from vector_pipeline.embedding.pacing import LocalPacer, Pacer
from vector_pipeline.embedding.values import ClientConfig, EmbeddingInput
from vector_pipeline.errors import DatabaseError, InputRejected
from vector_pipeline.settings import Settings
from vector_pipeline.stages.model import account_limits, check_model, model_dimensions, model_name
from vector_pipeline.stages.pipeline import Pipeline
from vector_pipeline.store.connection import Database
from vector_pipeline.store.pacing import PostgresPacer
from vector_pipeline.store.search import SearchResult
from vector_pipeline.store.search import search as search_vectors
from vector_pipeline.store.spaces import active_space
from vector_pipeline.text.documents import content_hash
from vector_pipeline.text.packing import RequestLimits, pack, weigh
from vector_pipeline.text.tokens import tokenizer_for

if TYPE_CHECKING:
    # The client imports openai, which takes a third of a second: where something is to be sent, and not before.
    from vector_pipeline.embedding.client import EmbeddingClient

PATIENCE_SECONDS = 30.0
"""How long a search retries transient failures."""

Vectors = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def client_config(settings: Settings) -> ClientConfig:
    """What the client is made with: the settings, and the tier's published limits under those that are set."""
    return ClientConfig(
        model=model_name(settings),
        dimensions=model_dimensions(settings),
        base_url=settings.openai_base_url,
        api_key=settings.openai_api_key,
        organization=settings.openai_organization,
        project=settings.openai_project,
        timeout_seconds=settings.timeout_seconds,
        retry_seconds=settings.retry_seconds,
        max_in_flight=settings.max_in_flight,
        limits=account_limits(settings),
    )


async def embed_texts(settings: Settings, texts: str | Sequence[str]) -> Vectors:
    """Vectors of one text, shape (dimensions,), or of many, shape (len(texts), dimensions); float32.

    Raises ProviderRefused, ProviderUnavailable, and InputRejected naming a text that cannot be embedded.
    """
    from vector_pipeline.embedding.client import EmbeddingClient
    from vector_pipeline.embedding.embedded_model import EmbeddedModel

    config = client_config(settings)
    pacer: Pacer = LocalPacer(config.limits)
    if settings.database_url is not None:
        database = Database(settings.database_url.get_secret_value(), settings.db_schema)
        pacer = PostgresPacer.of(database, config)
    transport = EmbeddedModel().transport() if settings.uses_embedded_model else None
    try:
        async with EmbeddingClient(config, pacer, transport) as client:
            vectors = await _embed_all(client, [texts] if isinstance(texts, str) else list(texts), urgent=False)
    finally:
        await pacer.close()
    return vectors[0] if isinstance(texts, str) else vectors


async def _embed_all(client: EmbeddingClient, texts: Sequence[str], *, urgent: bool) -> Vectors:
    tokenizer = tokenizer_for(client.config.model)
    # Equal texts are sent once; each gets its vector.
    inputs = {text: EmbeddingInput(text, tokenizer.count(text), content_hash(text)) for text in texts}
    found: dict[bytes, Vectors] = {}
    for batch in pack(inputs.values(), RequestLimits(), lambda i: weigh(i.tokens, i.text)):
        answer = await client.embed(batch, urgent=urgent)
        if answer.rejected:
            raise InputRejected(next(iter(answer.rejected.values())))
        found.update(zip((i.content_hash for i in answer.inputs), answer.vectors, strict=True))
    return np.array([found[inputs[text].content_hash] for text in texts], dtype=np.float32)


def search(
    pipeline: Pipeline,
    query: str,
    k: int = 10,
    *,
    source: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> list[SearchResult]:
    """The k chunks nearest in meaning to a question; see store.search.search for the filters.

    The question is embedded by the active space's model, whatever the settings name meanwhile, and does not wait
    behind a bulk load.
    """
    with pipeline.database.connect(role="search") as connection:
        space = active_space(connection)
        if space is None:
            raise DatabaseError("nothing was ever embedded; run `vector-pipeline ingest FOLDER` first")
        if pipeline.settings.uses_embedded_model != (space.model == EMBEDDED_MODEL):
            check_model(connection, pipeline.settings)
        config = client_config(pipeline.settings).for_model(space.model, space.dimensions)
        # A person waits for the answer: better a clear error soon than one after ten minutes.
        config = replace(config, retry_seconds=min(config.retry_seconds, PATIENCE_SECONDS))
        vector = asyncio.run(_ask(pipeline, config, query))
        return search_vectors(connection, vector, k, source=source, where=where)


async def _ask(pipeline: Pipeline, config: ClientConfig, query: str) -> Any:
    from vector_pipeline.embedding.client import EmbeddingClient

    pacer = PostgresPacer.of(pipeline.database, config)
    try:
        async with EmbeddingClient(config, pacer, pipeline.transport()) as client:
            return (await _embed_all(client, [query], urgent=True))[0]
    finally:
        await pacer.close()
