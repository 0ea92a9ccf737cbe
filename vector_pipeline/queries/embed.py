"""Texts to vectors in one call: for the question of a search, and for a user's own assets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from vector_pipeline.embedding.pacing.pacer import LocalPacer, Pacer
from vector_pipeline.embedding.providers.base import Purpose
from vector_pipeline.embedding.requests import RequestLimits, pack, weigh
from vector_pipeline.embedding.roles import Roles
from vector_pipeline.embedding.values import ClientConfig, EmbeddingInput
from vector_pipeline.errors import InputRejected
from vector_pipeline.pipeline.model import client_config, request_limits, roles_wanted
from vector_pipeline.settings import Settings
from vector_pipeline.store.connection import Database
from vector_pipeline.store.shared.pacing import PostgresPacer
from vector_pipeline.store.space import spaces_if_any
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline.text.documents import content_hash

if TYPE_CHECKING:
    # Its import is slow because of the HTTP libraries, so it is imported only when something is sent.
    from vector_pipeline.embedding.client import EmbeddingClient

Vectors = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


async def embed_texts(
    settings: Settings,
    texts: str | Sequence[str],
    config: ClientConfig | None = None,
    *,
    purpose: Purpose = Purpose.DOCUMENT,
    roles: Roles | None = None,
) -> Vectors:
    """Vectors of one text, shape (dimensions,), or of several, shape (len(texts), dimensions); float32.

    `roles` is what is sent with them. The default is that of the pipeline in the settings' database if it uses the same
    model, else the model's own. Raises ProviderRefused, ProviderUnavailable, and InputRejected, which names a text that
    cannot be embedded.
    """
    from vector_pipeline.embedding.client import EmbeddingClient

    config = config or client_config(settings)
    pacer: Pacer = LocalPacer(config.limits)
    if settings.database_url is not None:
        database = Database(settings.database_url.get_secret_value(), settings.db_schema)
        pacer = PostgresPacer.of(database, config)
        if roles is None:
            with database.connect(role="embed") as connection:
                roles = roles_wanted(settings, spaces_if_any(connection))
    config = config if roles is None else replace(config, roles=roles)
    try:
        async with EmbeddingClient(config, pacer, purpose=purpose) as client:
            wanted = [texts] if isinstance(texts, str) else list(texts)
            vectors = await embed_with(client, wanted, urgent=False, limits=request_limits(settings))
    finally:
        await pacer.close()
    return vectors[0] if isinstance(texts, str) else vectors


async def embed_with(
    client: EmbeddingClient, texts: Sequence[str], *, urgent: bool, limits: RequestLimits | None = None
) -> Vectors:
    """Vectors of some texts, shape (len(texts), dimensions), float32. Equal texts are sent once, with their prefix.

    `urgent` requests do not wait behind a bulk load. Raises the errors of `embed_texts`.
    """
    tokenizer = tokenizer_for(client.config.model)
    # Equal texts are sent once; each gets its vector.
    prefix = client.config.roles.of(client.purpose).prefix
    inputs = {text: EmbeddingInput(prefix + text, tokenizer.count(prefix + text), content_hash(text)) for text in texts}
    found: dict[bytes, Vectors] = {}
    for batch in pack(inputs.values(), limits or RequestLimits(), lambda i: weigh(i.tokens, i.text)):
        answer = await client.embed(batch, urgent=urgent)
        if answer.rejected:
            raise InputRejected(next(iter(answer.rejected.values())))
        found.update(zip((i.content_hash for i in answer.inputs), answer.vectors, strict=True))
    return np.array([found[inputs[text].content_hash] for text in texts], dtype=np.float32)
