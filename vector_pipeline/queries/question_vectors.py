"""Vectors of questions: one client for many questions, and no question is paid for twice."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from vector_pipeline.embedding.pacing.pacer import LocalPacer
from vector_pipeline.embedding.providers.base import Purpose
from vector_pipeline.embedding.roles import Role, Roles
from vector_pipeline.embedding.values import EmbeddingInput
from vector_pipeline.errors import InputRejected
from vector_pipeline.pipeline.model import roles_in_space
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import EMBEDDED_MODELS
from vector_pipeline.store.search.by_vector import Vector
from vector_pipeline.store.shared.pacing import PostgresPacer
from vector_pipeline.store.space import Space
from vector_pipeline.text.documents import content_hash

if TYPE_CHECKING:
    # The import of the client is slow, so it is imported only when something is sent.
    from vector_pipeline.embedding.client import EmbeddingClient

PATIENCE_SECONDS = 30.0
"""How long a search retries transient failures."""
MAX_REMEMBERED = 1_000
"""The number of questions whose vectors are kept: 6 MB at 1,536 dimensions."""


class QuestionVectors:
    """Embeds questions by the model of a space. Threads may share it. Close it, or use it in `with`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._remembered: OrderedDict[tuple[str, Role, str], Future[Vector]] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: dict[tuple[str, Role], EmbeddingClient] = {}
        self._opened = AsyncExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the model's server."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._opened.aclose(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def of(self, space: Space, question: str) -> Vector:
        """The vector of a question, shape (dimensions,), float32. Threads with the same question share one request.

        The question is sent with the query prefix of the space. Raises ProviderRefused, ProviderUnavailable and
        InputRejected.
        """
        roles = roles_in_space(self._pipeline.settings, space)
        key = (space.name, roles.query, question)
        with self._lock:
            found = self._remembered.get(key)
            mine = found is None
            if found is None:
                found = self._remembered[key] = Future()
                if len(self._remembered) > MAX_REMEMBERED:
                    self._remembered.popitem(last=False)
            else:
                self._remembered.move_to_end(key)
        if mine:
            try:
                found.set_result(self._ask(space, roles, question))
            except BaseException as error:
                with self._lock:
                    self._remembered.pop(key, None)
                found.set_exception(error)
                raise
        return found.result()

    def _ask(self, space: Space, roles: Roles, question: str) -> Vector:
        return asyncio.run_coroutine_threadsafe(self._send(space, roles, question), self._running_loop()).result()

    async def _send(self, space: Space, roles: Roles, question: str) -> Vector:
        client = await self._client(space, roles)
        most = self._pipeline.request_limits.max_tokens_per_input
        text, tokens = beginning(roles.query.prefix + question, most, self._pipeline.tokenizer().count)
        answer = await client.embed([EmbeddingInput(text, tokens, content_hash(question))], urgent=True)
        if answer.rejected:
            raise InputRejected(next(iter(answer.rejected.values())))
        return np.asarray(answer.vectors[0], dtype=np.float32)

    async def _client(self, space: Space, roles: Roles) -> EmbeddingClient:
        from vector_pipeline.embedding.client import EmbeddingClient

        key = (space.name, roles.query)
        if key not in self._clients:
            config = self._pipeline.client_config.for_model(space.model, space.dimensions, roles)
            # A person waits for the answer. An error after 30 seconds is better than one after ten minutes.
            config = replace(config, retry_seconds=min(config.retry_seconds, PATIENCE_SECONDS))
            in_process = space.model in EMBEDDED_MODELS
            pacer = LocalPacer() if in_process else PostgresPacer.of(self._pipeline.database, config)
            client = EmbeddingClient(config, pacer, purpose=Purpose.QUERY)
            self._clients[key] = await self._opened.enter_async_context(client)
        return self._clients[key]

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="questions", daemon=True).start()
            return self._loop


def beginning(text: str, most: int, count: Callable[[str], int]) -> tuple[str, int]:
    """The beginning of a text of at most so many tokens, and the number of its tokens; the whole text if it is short."""
    while (tokens := count(text)) > most:
        text = text[: len(text) * most // tokens]
    return text, tokens
