"""Search: a question is embedded, and the nearest chunks are looked up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from vector_pipeline.embedding.models import EMBEDDED_MODEL
from vector_pipeline.embedding.providers.base import Purpose
from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.errors import DatabaseError
from vector_pipeline.pipeline.model import check_model
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.embed import embed_with
from vector_pipeline.store.failures import PostgresError
from vector_pipeline.store.search.by_vector import SearchResult
from vector_pipeline.store.search.by_vector import search as search_vectors
from vector_pipeline.store.shared.answered import note_answer
from vector_pipeline.store.shared.pacing import PostgresPacer
from vector_pipeline.store.space import active_space

PATIENCE_SECONDS = 30.0
"""How long a search retries transient failures."""


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
        config = pipeline.client_config.for_model(space.model, space.dimensions)
        # A person waits for the answer: better a clear error soon than one after ten minutes.
        config = replace(config, retry_seconds=min(config.retry_seconds, PATIENCE_SECONDS))
        vector = asyncio.run(_ask(pipeline, config, query))
        with suppress(PostgresError):  # a role that only reads may search
            note_answer(connection, pipeline.client_config.bucket)
        return search_vectors(connection, vector, k, source=source, where=where)


async def _ask(pipeline: Pipeline, config: ClientConfig, query: str) -> Any:
    from vector_pipeline.embedding.client import EmbeddingClient

    pacer = PostgresPacer.of(pipeline.database, config)
    try:
        async with EmbeddingClient(config, pacer, purpose=Purpose.QUERY) as client:
            return (await embed_with(client, [query], urgent=True))[0]
    finally:
        await pacer.close()
