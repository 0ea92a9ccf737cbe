"""Other people's rankings of texts whose vectors are given; run by retrieval.py with the peers' own Python.

    python run.py WAY < task.json

The task has `host`, `port`, `name`, `user` and `password` of a database, `texts`, their `vectors`, `questions`, their
`question_vectors`, and `k`. Prints, for each question, the numbers of the k best texts, best first. Each library is used
as its own documentation shows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

DEEP = 50
"""How many texts each side of a fusion hands over, as many as ours."""


@dataclass(frozen=True)
class Task:
    """What there is to rank, and where."""

    host: str
    port: str
    name: str
    user: str
    password: str
    texts: list[str]
    vectors: list[list[float]]
    questions: list[str]
    question_vectors: list[list[float]]
    k: int

    def address(self, scheme: str) -> str:
        """The database, as SQLAlchemy spells it."""
        return f"{scheme}://{self.user}:{self.password}@/{self.name}?host={self.host}&port={self.port}"

    @property
    def dimensions(self) -> int:
        """Of the vectors."""
        return len(self.vectors[0])


def langchain(task: Task, language: str, fusion: str) -> list[list[int]]:
    """PGVectorStore with HybridSearchConfig: tsvector and vectors, fused by weighted scores or by ranks."""
    from langchain_core.embeddings import Embeddings
    from langchain_postgres import PGEngine, PGVectorStore
    from langchain_postgres.v2.hybrid_search_config import (
        HybridSearchConfig,
        reciprocal_rank_fusion,
        weighted_sum_ranking,
    )

    known = dict(zip(task.questions, task.question_vectors, strict=True))

    class Given(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise NotImplementedError

        def embed_query(self, text: str) -> list[float]:
            return known[text]

    fusions: dict[str, Callable[..., Any]] = {"scores": weighted_sum_ranking, "ranks": reciprocal_rank_fusion}
    hybrid = HybridSearchConfig(
        tsv_column="content_tsv",
        tsv_lang=f"pg_catalog.{language}",
        fusion_function=fusions[fusion],
        fusion_function_parameters={"fetch_top_k": task.k},
        primary_top_k=DEEP,
        secondary_top_k=DEEP,
    )
    table = f"langchain_{language}_{fusion}"
    engine = PGEngine.from_connection_string(task.address("postgresql+psycopg"))
    engine.init_vectorstore_table(table, task.dimensions, hybrid_search_config=hybrid)
    store = PGVectorStore.create_sync(
        engine, embedding_service=Given(), table_name=table, hybrid_search_config=hybrid, k=task.k
    )
    numbers = [{"number": number} for number in range(len(task.texts))]
    store.add_embeddings(task.texts, task.vectors, numbers)
    found = []
    for question in task.questions:
        # A store keeps the words of its first question in its configuration (0.0.19), so each one gets its own.
        own = replace(hybrid, fts_query=question)
        documents = store.similarity_search(question, k=task.k, hybrid_search_config=own)
        found.append([document.metadata["number"] for document in documents])
    return found


def llama_index(task: Task, language: str, retriever: str) -> list[list[int]]:
    """PGVectorStore with hybrid_search; `fusion` is the QueryFusionRetriever that its page on Postgres recommends."""
    from llama_index.core import MockEmbedding, QueryBundle, VectorStoreIndex
    from llama_index.core.llms import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.postgres import PGVectorStore

    store = PGVectorStore(
        connection_string=task.address("postgresql+psycopg2"),
        async_connection_string=task.address("postgresql+asyncpg"),
        table_name=f"llama_{language}_{retriever}",
        schema_name="public",
        embed_dim=task.dimensions,
        hybrid_search=True,
        text_search_config=language,
    )
    nodes = [
        TextNode(id_=str(number), text=text, embedding=vector)
        for number, (text, vector) in enumerate(zip(task.texts, task.vectors, strict=True))
    ]
    store.add(nodes)
    index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(task.dimensions))
    if retriever == "hybrid":
        asked = index.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=task.k, sparse_top_k=task.k)
    else:
        asked = QueryFusionRetriever(
            [
                index.as_retriever(vector_store_query_mode="default", similarity_top_k=DEEP),
                index.as_retriever(vector_store_query_mode="sparse", similarity_top_k=DEEP),
            ],
            similarity_top_k=task.k,
            num_queries=1,
            mode=FUSION_MODES.RELATIVE_SCORE,
            use_async=False,
            llm=MockLLM(),
        )
    found = []
    for question, vector in zip(task.questions, task.question_vectors, strict=True):
        nodes_found = asked.retrieve(QueryBundle(question, embedding=vector))
        found.append([int(node.node.node_id) for node in nodes_found][: task.k])
    return found


def bm25s(task: Task) -> list[list[int]]:
    """bm25s with its own tokenizer for English, as its README shows."""
    import bm25s as library

    ranking = library.BM25()
    ranking.index(library.tokenize(task.texts, stopwords="en", show_progress=False), show_progress=False)
    asked = library.tokenize(task.questions, stopwords="en", show_progress=False)
    numbers, scores = ranking.retrieve(asked, k=task.k, show_progress=False)
    return [
        [int(number) for number, score in zip(*of_question, strict=True) if score > 0]
        for of_question in zip(numbers, scores, strict=True)
    ]


def bm25s_of_terms(task: Task) -> list[list[int]]:
    """bm25s over terms that are handed over, separated by spaces: exact BM25, the limit of a lexical index."""
    import bm25s as library
    import numpy as np

    ids: dict[str, int] = {}
    ranking = library.BM25(k1=1.2, b=0.75, method="lucene")
    tokens = [[ids.setdefault(term, len(ids)) for term in text.split(" ")] for text in task.texts]
    ranking.index((tokens, ids), show_progress=False)
    found = []
    for question in task.questions:
        scores = ranking.get_scores([term for term in question.split(" ") if term in ids])
        best = np.argsort(-scores, kind="stable")[: task.k]
        found.append([int(number) for number in best if scores[number] > 0])
    return found


WAYS: dict[str, Callable[[Task], list[list[int]]]] = {
    "LangChain hybrid, scores": partial(langchain, language="english", fusion="scores"),
    "LangChain hybrid, ranks": partial(langchain, language="english", fusion="ranks"),
    "LangChain hybrid, ranks, `simple`": partial(langchain, language="simple", fusion="ranks"),
    "LlamaIndex hybrid": partial(llama_index, language="english", retriever="hybrid"),
    "LlamaIndex fusion retriever": partial(llama_index, language="english", retriever="fusion"),
    "LlamaIndex fusion retriever, `simple`": partial(llama_index, language="simple", retriever="fusion"),
    "bm25s": bm25s,
    "bm25s over our terms": bm25s_of_terms,
}


def main() -> None:
    """Do what the argument says."""
    task = Task(**json.load(sys.stdin))
    print(json.dumps(WAYS[sys.argv[1]](task)))


if __name__ == "__main__":
    main()
