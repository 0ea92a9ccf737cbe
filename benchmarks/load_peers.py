"""Loads the same rows the ways other people do; run by load.py with the Python of the peers' own environment.

python load_peers.py URL DIMENSIONS ROWS NAME    prints rows per second
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np


def main(url: str, dimensions: int, rows: int, name: str) -> None:
    """Load `rows` vectors, shape (rows, dimensions), and print rows per second."""
    random = np.random.default_rng(1)
    vectors = random.standard_normal((rows, dimensions), dtype=np.float32)
    texts = [f"{i} " + random.bytes(750).hex() for i in range(rows)]
    ways = {"django": _django, "langchain": _langchain, "llama_index": _llama_index, "pgai": _pgai}
    seconds = ways[name](url, vectors, texts)
    print(json.dumps(rows / seconds))


def _parts(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parse_qs(parts.query)["host"][0], parts.path.removeprefix("/")


def _django(url: str, vectors: Any, texts: list[str]) -> float:
    """The tutorial's way: model instances with lists, `bulk_create` of 1,000."""
    import django
    from django.conf import settings

    host, name = _parts(url)
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": "postgres", "HOST": host}
    settings.configure(DATABASES={"default": database}, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField")
    django.setup()
    from django.db import connection, models
    from pgvector.django import VectorField

    class Row(models.Model):
        id = models.UUIDField(primary_key=True)
        source = models.TextField()
        chunk_index = models.IntegerField()
        page_content = models.TextField()
        metadata = models.JSONField()
        embedding = VectorField(dimensions=vectors.shape[1])

        class Meta:
            app_label = "peers"
            db_table = "django_rows"

    with connection.schema_editor() as editor:
        editor.create_model(Row)
    lists = vectors.tolist()
    began = time.perf_counter()
    Row.objects.bulk_create(
        [
            Row(id=uuid.uuid4(), source="a.txt", chunk_index=i, page_content=text, metadata={"a": 1}, embedding=vector)
            for i, (text, vector) in enumerate(zip(texts, lists, strict=True))
        ],
        batch_size=1_000,
    )
    return time.perf_counter() - began


def _langchain(url: str, vectors: Any, texts: list[str]) -> float:
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_postgres import PGEngine, PGVectorStore

    host, name = _parts(url)
    engine = PGEngine.from_connection_string(f"postgresql+psycopg://postgres@/{name}?host={host}")
    engine.init_vectorstore_table("langchain_rows", vectors.shape[1])
    fake = DeterministicFakeEmbedding(size=vectors.shape[1])
    store = PGVectorStore.create_sync(engine, fake, "langchain_rows")
    lists = vectors.tolist()
    began = time.perf_counter()
    store.add_embeddings(texts, lists, [{"a": 1}] * len(texts), [str(uuid.uuid4()) for _ in texts])
    return time.perf_counter() - began


def _llama_index(url: str, vectors: Any, texts: list[str]) -> float:
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.postgres import PGVectorStore

    host, name = _parts(url)
    store = PGVectorStore(
        connection_string=f"postgresql+psycopg2://postgres@/{name}?host={host}",
        async_connection_string=f"postgresql+asyncpg://postgres@/{name}?host={host}",
        table_name="llama_rows",
        schema_name="public",
        embed_dim=vectors.shape[1],
    )
    nodes = [
        TextNode(text=text, embedding=vector, metadata={"a": 1})
        for text, vector in zip(texts, vectors.tolist(), strict=True)
    ]
    began = time.perf_counter()
    store.add(nodes)
    return time.perf_counter() - began


def _pgai(url: str, vectors: Any, texts: list[str]) -> float:
    """The COPY of pgai's vectorizer worker, in transactions of its own size; without its queue."""
    import asyncio

    import pgai
    import psycopg
    from pgai.vectorizer.vectorizer import Executor, Vectorizer
    from pgvector.psycopg import register_vector_async

    pgai.install(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE documents (id bigint PRIMARY KEY, content text)")
        connection.execute("INSERT INTO documents SELECT i, '' FROM generate_series(1, %s) AS i", (len(texts),))
        connection.execute(
            "SELECT ai.create_vectorizer('documents'::regclass, loading => ai.loading_column('content'), "
            "destination => ai.destination_table('pgai_rows'), chunking => ai.chunking_none(), "
            f"embedding => ai.embedding_openai('m', {vectors.shape[1]}), scheduling => ai.scheduling_none(), "
            "indexing => ai.indexing_none())"
        )
        made = connection.execute("SELECT to_jsonb(v) FROM ai.vectorizer AS v").fetchone()
    vectorizer = Vectorizer.model_validate(made and made[0])
    worker: Any = Executor(url, vectorizer, None, None)
    records = [[number, 0, text, vector] for number, (text, vector) in enumerate(zip(texts, vectors, strict=True), 1)]

    async def load() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await register_vector_async(connection)
            for start in range(0, len(records), worker._batch_size):
                async with connection.transaction():
                    part = records[start : start + worker._batch_size]
                    await worker._copy_embeddings(connection, part, vectorizer.config.destination)

    began = time.perf_counter()
    asyncio.run(load())
    return time.perf_counter() - began


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
