"""A corpus that is open for searches: the one public way to ask, without Dagster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.embed import Vectors, embed_texts
from vector_pipeline.queries.question_vectors import QuestionVectors
from vector_pipeline.queries.search import answer, question_of
from vector_pipeline.settings import Settings
from vector_pipeline.store.pool import ConnectionPool
from vector_pipeline.store.search.hybrid import Mode
from vector_pipeline.store.search.results import SearchResult

MAX_CONNECTIONS = 8


class Corpus:
    """A corpus open for searches. Safe for threads, and for many at once: it has a pool of connections inside.

    with Corpus.open() as corpus:
        for result in corpus.search("how many days of leave are there?", k=5):
            print(result.source, result.page_content)
    """

    def __init__(self, pipeline: Pipeline, pool: ConnectionPool, vectors: QuestionVectors, opened: ExitStack) -> None:
        self._pipeline = pipeline
        self._pool = pool
        self._vectors = vectors
        self._opened = opened

    @classmethod
    def open(cls, settings: Settings | None = None, *, connections: int = MAX_CONNECTIONS) -> Self:
        """Open what the settings name, or the environment where there are none; close it, or use it in `with`.

        `connections` are held to Postgres at most. Raises ConfigurationError, DatabaseUnavailable and DatabaseError.
        """
        with ExitStack() as stack:
            pipeline = stack.enter_context(open_pipeline(settings or Settings.from_environment()))
            pool = stack.enter_context(ConnectionPool(pipeline.database, role="corpus", most=connections))
            vectors = stack.enter_context(QuestionVectors(pipeline))
            return cls(pipeline, pool, vectors, stack.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; an embedded server that nobody else uses stops."""
        self._opened.close()

    def search(
        self,
        query: str,
        k: int = 5,
        *,
        mode: Mode = "auto",
        source: str | None = None,
        root: str | None = None,
        where: Mapping[str, Any] | None = None,
        context: int = 0,
    ) -> list[SearchResult]:
        """The k chunks that answer a question best, best first.

        `mode` says what ranks: `words` (BM25), `meaning` (vectors), `hybrid` (both), or `auto`, which is both, but words
        for an identifier, one word, or a phrase in quotes, which is then looked for in that order. `source` is a glob
        over paths, `root` a folder or URL that was ingested, `where` what a chunk's metadata must contain. With
        `context` each result has the text of so many chunks to either side.

        The vector of a question is kept: who asks it again pays nothing.
        Raises ConfigurationError for a question or an argument that is none, DatabaseError where nothing was ever
        embedded, ProviderRefused and ProviderUnavailable where the question could not be embedded.
        """
        question = question_of(query, k, mode=mode, source=source, root=root, where=where, context=context)
        with self._pool.connection() as connection:
            return answer(self._pipeline, connection, self._vectors, question)

    async def asearch(
        self,
        query: str,
        k: int = 5,
        *,
        mode: Mode = "auto",
        source: str | None = None,
        root: str | None = None,
        where: Mapping[str, Any] | None = None,
        context: int = 0,
    ) -> list[SearchResult]:
        """The same as `search`, for asyncio: it waits on another thread."""
        return await asyncio.to_thread(
            self.search, query, k, mode=mode, source=source, root=root, where=where, context=context
        )

    def embed(self, texts: str | Sequence[str]) -> Vectors:
        """Vectors of one text, shape (dimensions,), or of many, shape (len(texts), dimensions); float32.

        By the model that the settings name. Raises ProviderRefused, ProviderUnavailable, and InputRejected naming a
        text that cannot be embedded.
        """
        return asyncio.run(self.aembed(texts))

    async def aembed(self, texts: str | Sequence[str]) -> Vectors:
        """The same as `embed`, for asyncio."""
        return await embed_texts(self._pipeline.settings, texts, self._pipeline.client_config)
