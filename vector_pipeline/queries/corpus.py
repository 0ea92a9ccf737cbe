"""A corpus that is open for searches: the public interface for programs, without Dagster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, Self

from vector_pipeline.embedding.providers.base import Purpose
from vector_pipeline.embedding.roles import Roles
from vector_pipeline.pipeline.model import roles_wanted
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.embed import Vectors, embed_texts
from vector_pipeline.queries.question_vectors import QuestionVectors
from vector_pipeline.queries.read import read_document, read_neighbours
from vector_pipeline.queries.search import answer, question_of
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.store.pool import ConnectionPool
from vector_pipeline.store.search.documents import DocumentText
from vector_pipeline.store.search.hybrid import Mode
from vector_pipeline.store.search.results import PlacedChunk, SearchResult
from vector_pipeline.store.space import spaces_if_any

MAX_CONNECTIONS = 8


class Corpus:
    """A corpus that is open for searches. Threads may share it: it has a pool of connections.

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
        """Open the corpus that the settings name; without settings, the environment. Close it, or use it in `with`.

        `connections` is the largest number of connections to Postgres. Raises ConfigurationError, DatabaseUnavailable
        and DatabaseError.
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
        """Close the connections. An embedded server stops if no other process uses it."""
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

        `mode` says how chunks are ranked: by `words` (BM25), by `meaning` (vectors), or `hybrid` (both). `auto` uses
        words for an identifier, a single word or a phrase in quotes (whose words must then follow each other), and both
        for anything else. `source` is a glob over paths, `root` a folder or URL that was ingested, and `where` what a
        chunk's metadata must contain. `context` adds the text of this many chunks before and after each result.

        The vectors of questions are kept, so the same question is not paid for again.
        Raises ConfigurationError for an empty question or an invalid argument, DatabaseError if nothing was ever
        embedded, and ProviderRefused or ProviderUnavailable if the question could not be embedded.
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
        """The same as `search` for asyncio. It runs on another thread."""
        return await asyncio.to_thread(
            self.search, query, k, mode=mode, source=source, root=root, where=where, context=context
        )

    def document(
        self, document_id: str, *, root: str | None = None, start: int = 0, characters: int | None = None
    ) -> DocumentText:
        """The text of a document, joined from its chunks without repetition.

        `document_id` is that of a result. `root` is needed only if several roots have a document of this id. `start`
        and `characters` choose a part; its `next_start` is where the rest begins. No chunk holds the white space between
        chunks, so there it has the same number of spaces or line breaks.
        Raises ConfigurationError if no such document is loaded, or an argument is invalid.
        """
        with self._pool.connection() as connection:
            return read_document(connection, document_id, root=root, start=start, characters=characters)

    def neighbours(
        self, document_id: str, chunk_index: int, *, root: str | None = None, before: int = 1, after: int = 1
    ) -> list[PlacedChunk]:
        """A chunk of a document with the chunks before and after it, in the order of the text.

        `document_id` and `chunk_index` are those of a result. Raises ConfigurationError if there is no such chunk.
        """
        with self._pool.connection() as connection:
            return read_neighbours(connection, document_id, chunk_index, root=root, before=before, after=after)

    def status(self) -> dict[str, Any]:
        """The state of the table, as `vector-pipeline status --json` prints it."""
        return read_status(self._pipeline)

    def embed(self, texts: str | Sequence[str], *, purpose: Literal["document", "query"] = "document") -> Vectors:
        """Vectors of one text, shape (dimensions,), or of several, shape (len(texts), dimensions); float32.

        They come from the model in the settings, which may embed a question differently from a text: `purpose` says
        which these are. Raises ProviderRefused, ProviderUnavailable, and InputRejected, which names a text that cannot
        be embedded.
        """
        return asyncio.run(self.aembed(texts, purpose=purpose))

    async def aembed(self, texts: str | Sequence[str], *, purpose: Literal["document", "query"] = "document") -> Vectors:
        """The same as `embed` for asyncio."""
        pipeline = self._pipeline
        roles = await asyncio.to_thread(self._roles)
        return await embed_texts(pipeline.settings, texts, pipeline.client_config, purpose=Purpose(purpose), roles=roles)

    def _roles(self) -> Roles:
        with self._pool.connection() as connection:
            return roles_wanted(self._pipeline.settings, spaces_if_any(connection))
