"""Other people's ways from a folder of text to a searchable table; run by pipelines.py with the peers' own Python.

    python run.py WAY ACTION '{"url": …, "folder": …, "state": …, "api": …, "vocabulary": …, "pattern": …}'

Actions: `ingest` brings the table in step with the folder as far as the way can; `expected` prints what its own
loader and splitter make of the folder, as {source: [[text, text as sent], …]}; `search` prints the median milliseconds
of the ten nearest to a vector. Each library is used as its own documentation shows, with the batch sizes that suit it.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MODEL = "text-embedding-3-small"
KEY = "sk-benchmark"
DIMENSIONS = 1_536
CHUNK_TOKENS = 400
BATCH = 500
"""Texts in a request and in a batch of LangChain's `index`: 500 of 400 tokens are 200,000, of 300,000 allowed."""
GROUP_TOKENS = 100_000
QUERIES = 100
NEAREST = 10

Expected = dict[str, list[tuple[str, str]]]
Search = Callable[[list[float]], object]


@dataclass(frozen=True)
class Task:
    """Where everything is."""

    url: str
    folder: str
    state: str
    api: str
    vocabulary: str
    pattern: str

    def address(self, scheme: str) -> str:
        """The database, as SQLAlchemy spells it."""
        host, name = self.parts
        return f"{scheme}://postgres@/{name}?host={host}"

    @property
    def parts(self) -> tuple[str, str]:
        """The server's socket folder, and the database's name."""
        parts = urlsplit(self.url)
        return parse_qs(parts.query)["host"][0], parts.path.removeprefix("/")

    @cached_property
    def encoding(self) -> Any:
        """cl100k_base from the file that was handed over: tiktoken's own host may be out of reach."""
        import tiktoken

        with Path(self.vocabulary).open("rb") as lines:
            ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
        return tiktoken.Encoding("cl100k_base", pat_str=self.pattern, mergeable_ranks=ranks, special_tokens={})

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.encoding.encode_ordinary(text))

    def relative(self, path: str) -> str:
        """A path as the folder sees it."""
        return os.path.relpath(path, self.folder)


class LangChain:
    """`index` with an SQLRecordManager, PGVectorStore, and the recursive splitter counting tokens."""

    cached = False

    def __init__(self, task: Task) -> None:
        self.task = task

    def chunks(self) -> list[Any]:
        """The folder, read and split."""
        from langchain_community.document_loaders import DirectoryLoader, TextLoader
        from langchain_text_splitters import RecursiveCharacterTextSplitter

        loader = DirectoryLoader(
            self.task.folder,
            glob="**/*.txt",
            loader_cls=TextLoader,
            loader_kwargs={"encoding": "utf-8", "autodetect_encoding": True},
            silent_errors=True,  # passes over a file that it cannot read, with a warning
        )
        splitter = RecursiveCharacterTextSplitter(
            chunk_size=CHUNK_TOKENS, chunk_overlap=0, length_function=self.task.count
        )
        return splitter.split_documents(loader.load())

    def expected(self) -> Expected:
        """What the splitter makes of the files."""
        found: Expected = {}
        for chunk in self.chunks():
            found.setdefault(self.task.relative(chunk.metadata["source"]), []).append((chunk.page_content,) * 2)
        return found

    def _embeddings(self) -> Any:
        from langchain_openai import OpenAIEmbeddings

        # Their documentation of other base URLs: without counting, which would send token ids instead of texts.
        plain = OpenAIEmbeddings(
            model=MODEL, base_url=self.task.api, api_key=KEY, check_embedding_ctx_length=False, chunk_size=BATCH
        )
        if not self.cached:
            return plain
        from langchain_classic.embeddings import CacheBackedEmbeddings
        from langchain_classic.storage import LocalFileStore

        store = LocalFileStore(f"{self.task.state}/cache")
        return CacheBackedEmbeddings.from_bytes_store(
            plain, store, namespace=MODEL, batch_size=BATCH, key_encoder="blake2b"
        )

    def _store(self, *, new: bool) -> Any:
        from langchain_postgres import Column, PGEngine, PGVectorStore

        engine = PGEngine.from_connection_string(self.task.address("postgresql+psycopg"))
        if new:
            # `index` makes ids that are hashes, which the default column of UUIDs does not take.
            engine.init_vectorstore_table("chunks", DIMENSIONS, id_column=Column("langchain_id", "TEXT", nullable=False))
        return PGVectorStore.create_sync(engine, self._embeddings(), "chunks")

    def ingest(self) -> None:
        """All cleaned up: the loader gives the whole folder."""
        from langchain_classic.indexes import SQLRecordManager
        from langchain_core.indexing import index
        from langchain_postgres.v2.indexes import HNSWIndex

        marker = Path(self.task.state) / "made"
        store = self._store(new=not marker.exists())
        marker.touch()
        records = SQLRecordManager("pgvector/chunks", db_url=self.task.address("postgresql+psycopg"))
        records.create_schema()
        index(
            self.chunks(),
            records,
            store,
            cleanup="full",
            source_id_key="source",
            batch_size=BATCH,
            key_encoder="blake2b",
        )
        if not store.is_valid_index("chunks_hnsw"):
            store.apply_vector_index(HNSWIndex(name="chunks_hnsw"))

    def search(self) -> Search:
        """The store's own search by vector."""
        store = self._store(new=False)
        return lambda vector: store.similarity_search_by_vector(vector, k=NEAREST)


class LangChainCached(LangChain):
    """The same with CacheBackedEmbeddings over files."""

    cached = True


class LlamaIndex:
    """IngestionPipeline with upserts and deletes, PGVectorStore with HNSW, and a docstore in Postgres."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def _documents(self) -> list[Any]:
        from llama_index.core import SimpleDirectoryReader

        return SimpleDirectoryReader(
            self.task.folder, recursive=True, filename_as_id=True, required_exts=[".txt"]
        ).load_data()

    def _splitter(self) -> Any:
        from llama_index.core.node_parser import SentenceSplitter

        return SentenceSplitter(chunk_size=CHUNK_TOKENS, chunk_overlap=0, tokenizer=self.task.encoding.encode_ordinary)

    def expected(self) -> Expected:
        """What the splitter makes of the files; what is sent has the path before the text."""
        from llama_index.core.schema import MetadataMode

        found: Expected = {}
        for node in self._splitter()(self._documents()):
            # Its client sends line breaks as spaces.
            pair = (node.get_content(), node.get_content(MetadataMode.EMBED).replace("\n", " "))
            found.setdefault(self.task.relative(node.metadata["file_path"]), []).append(pair)
        return found

    def _store(self) -> Any:
        from llama_index.vector_stores.postgres import PGVectorStore

        return PGVectorStore(
            connection_string=self.task.address("postgresql+psycopg2"),
            async_connection_string=self.task.address("postgresql+asyncpg"),
            table_name="chunks",
            schema_name="public",
            embed_dim=DIMENSIONS,
            hnsw_kwargs={
                "hnsw_m": 16,
                "hnsw_ef_construction": 64,
                "hnsw_ef_search": 40,
                "hnsw_dist_method": "vector_cosine_ops",
            },
        )

    def ingest(self) -> None:
        """Documents that are gone are deleted, changed ones embedded again."""
        from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
        from llama_index.embeddings.openai import OpenAIEmbedding
        from llama_index.storage.docstore.postgres import PostgresDocumentStore
        from llama_index.storage.kvstore.postgres import PostgresKVStore

        addresses = (self.task.address("postgresql+psycopg2"), self.task.address("postgresql+asyncpg"))
        documents = PostgresDocumentStore(PostgresKVStore("documents", *addresses), batch_size=BATCH)
        pipeline = IngestionPipeline(
            transformations=[
                self._splitter(),
                OpenAIEmbedding(model=MODEL, api_base=self.task.api, api_key=KEY, embed_batch_size=BATCH),
            ],
            vector_store=self._store(),
            docstore=documents,
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
            # Its cache keeps whole lists of nodes in memory and is of no use where a document changed.
            disable_cache=True,
        )
        pipeline.run(documents=self._documents())

    def search(self) -> Search:
        """The store's own query."""
        from llama_index.core.vector_stores import VectorStoreQuery

        store = self._store()
        return lambda vector: store.query(VectorStoreQuery(query_embedding=vector, similarity_top_k=NEAREST))


class CocoIndex:
    """An app as in its text embedding example, the chunk's vector memoized, the splitter LangChain's."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def _split(self, text: str) -> list[str]:
        from langchain_text_splitters import RecursiveCharacterTextSplitter

        splitter = RecursiveCharacterTextSplitter(
            chunk_size=CHUNK_TOKENS, chunk_overlap=0, length_function=self.task.count
        )
        return splitter.split_text(text)

    def expected(self) -> Expected:
        """What the splitter makes of the files."""
        return {
            self.task.relative(str(path)): [(chunk, chunk) for chunk in self._split(path.read_text(errors="replace"))]
            for path in sorted(Path(self.task.folder).rglob("*.txt"))
        }

    def ingest(self) -> None:
        """One update of the app."""
        import cocoindex_app

        cocoindex_app.run(self.task, self._split)

    def search(self) -> Search:
        """Plain SQL, as in its example."""
        import psycopg
        from pgvector.psycopg import register_vector

        connection = psycopg.connect(self.task.url, autocommit=True)
        register_vector(connection)
        statement = (
            "SELECT filename, text, embedding <=> %s::vector AS distance FROM public.chunks ORDER BY distance LIMIT 10"
        )
        return lambda vector: connection.execute(statement, [str(vector)]).fetchall()


class Django:
    """A tutorial's way: split on blank lines, groups of at most this many tokens, everything in one bulk_create."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def _paragraphs(self) -> Iterator[tuple[str, str]]:
        for path in sorted(Path(self.task.folder).rglob("*.txt")):
            for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
                if paragraph.strip():
                    yield self.task.relative(str(path)), paragraph.strip()

    def expected(self) -> Expected:
        """The paragraphs."""
        found: Expected = {}
        for source, text in self._paragraphs():
            found.setdefault(source, []).append((text, text))
        return found

    def _model(self) -> Any:
        import django
        from django.conf import settings

        host, name = self.task.parts
        database = {"ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": "postgres", "HOST": host}
        settings.configure(DATABASES={"default": database}, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
        django.setup()
        from django.db import models
        from pgvector.django import HnswIndex, VectorField

        class Chunk(models.Model):
            source = models.TextField()
            page_content = models.TextField()
            metadata = models.JSONField(default=dict)
            embedding = VectorField(dimensions=DIMENSIONS, null=True)

            class Meta:
                app_label = "peers"
                db_table = "chunks"
                indexes = (
                    HnswIndex(
                        name="chunks_hnsw",
                        fields=["embedding"],
                        m=16,
                        ef_construction=64,
                        opclasses=["vector_cosine_ops"],
                    ),
                )

        return Chunk

    def ingest(self) -> None:
        """Load the folder; what is there already is not looked at."""
        import openai
        from django.db import connection

        model = self._model()
        if "chunks" not in connection.introspection.table_names():
            with connection.schema_editor() as editor:
                editor.create_model(model)
        client = openai.OpenAI(base_url=self.task.api, api_key=KEY)
        rows = [model(source=source, page_content=text) for source, text in self._paragraphs()]
        for group in self._groups([row for row in rows if row.embedding is None]):
            for row, vector in zip(group, self._embed(client, [row.page_content for row in group]), strict=True):
                row.embedding = vector
        model.objects.bulk_create(rows, batch_size=1_000)

    def _groups(self, rows: list[Any]) -> Iterator[list[Any]]:
        group: list[Any] = []
        size = 0
        for row in rows:
            tokens = self.task.count(row.page_content)
            if group and size + tokens > GROUP_TOKENS:
                yield group
                group, size = [], 0
            group.append(row)
            size += tokens
        if group:
            yield group

    def _embed(self, client: Any, texts: list[str]) -> list[list[float]]:
        import openai

        for left in (2, 1, 0):
            try:
                return [row.embedding for row in client.embeddings.create(model=MODEL, input=texts).data]
            except openai.RateLimitError:
                if not left:
                    raise
                time.sleep(60)
        raise AssertionError("unreachable")

    def search(self) -> Search:
        """The ORM's order by distance."""
        from pgvector.django import CosineDistance

        model = self._model()
        return lambda vector: list(model.objects.order_by(CosineDistance("embedding", vector))[:NEAREST])


WAYS: dict[str, Callable[[Task], Any]] = {
    "langchain": LangChain,
    "langchain_cached": LangChainCached,
    "llama_index": LlamaIndex,
    "cocoindex": CocoIndex,
    "django": Django,
}


def median_milliseconds(search: Search) -> float:
    """Of random vectors, after some to warm up."""
    import random

    rng = random.Random(5)
    times = []
    for number in range(QUERIES + 10):
        vector = [rng.gauss(0, 1) for _ in range(DIMENSIONS)]
        began = time.perf_counter()
        search(vector)
        if number >= 10:
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def main() -> None:
    """Do what the arguments say."""
    way, action, task = sys.argv[1], sys.argv[2], Task(**json.loads(sys.argv[3]))
    worker = WAYS[way](task)
    if action == "ingest":
        worker.ingest()
    elif action == "expected":
        print(json.dumps(worker.expected()))
    else:
        print(json.dumps(median_milliseconds(worker.search())))


if __name__ == "__main__":
    main()
