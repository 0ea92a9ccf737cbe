"""Models are known by the names that servers give them, and no other model gets a prefix."""

from __future__ import annotations

import pytest

from vector_pipeline.embedding.roles import Role, Roles, known_roles

SENTENCE = "Represent this sentence for searching relevant passages: "
INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"

PREFIXES = [
    ("intfloat/multilingual-e5-small", "query: ", "passage: "),
    ("intfloat/e5-base-v2", "query: ", "passage: "),
    ("jeffh/intfloat-multilingual-e5-large:f16", "query: ", "passage: "),
    ("nlpai-lab/KoE5", "query: ", "passage: "),
    ("intfloat/multilingual-e5-large-instruct", f"{INSTRUCT} ", ""),
    ("BAAI/bge-small-en-v1.5", SENTENCE, ""),
    ("CompendiumLabs/bge-large-en-v1.5-gguf", SENTENCE, ""),
    ("mxbai-embed-large", SENTENCE, ""),
    ("nomic-embed-text:v1.5", "search_query: ", "search_document: "),
    ("text-embedding-nomic-embed-text-v1.5@q8_0", "search_query: ", "search_document: "),
    ("nomic-ai/nomic-embed-text-v2-moe", "search_query: ", "search_document: "),
    ("google/embeddinggemma-300m", "task: search result | query: ", "title: none | text: "),
    ("Qwen/Qwen3-Embedding-0.6B", INSTRUCT, ""),
    ("qwen3-embedding:8b", INSTRUCT, ""),
    ("Snowflake/snowflake-arctic-embed-m-v1.5", SENTENCE, ""),
    ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
    ("snowflake-arctic-embed2", "query: ", ""),
]
PARAMETERS = [
    ("embed-v4.0", "input_type=search_query", "input_type=search_document"),
    ("cohere/embed-multilingual-v3.0", "input_type=search_query", "input_type=search_document"),
    ("voyage-3.5-lite", "input_type=query", "input_type=document"),
    ("jina-embeddings-v3", "task=retrieval.query", "task=retrieval.passage"),
]
PLAIN = [
    *("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002", "wordllama-256"),
    *(
        "BAAI/bge-m3",
        "bge-m3",
        "all-MiniLM-L6-v2",
        "intfloat/e5-base-4k",
        "my-e5-small",
        "text-multilingual-embedding-002",
    ),
    *("somebody/qwen3-embedding-0.6b-finetuned", "jina-embeddings-v2-base-en", "embed-english-v2.0", ""),
]


@pytest.mark.parametrize(("model", "query", "document"), PREFIXES)
def test_a_model_is_known_by_its_name(model: str, query: str, document: str) -> None:
    assert known_roles(model) == Roles(document=Role(document), query=Role(query))


@pytest.mark.parametrize(("model", "query", "document"), PARAMETERS)
def test_an_api_with_a_parameter_gets_it(model: str, query: str, document: str) -> None:
    found = known_roles(model)
    assert (found.query, found.document) == (Role(parameter=query), Role(parameter=document))
    name, _, value = query.partition("=")
    assert found.query.fields == {name: value}


@pytest.mark.parametrize("model", PLAIN)
def test_no_other_model_gets_anything(model: str) -> None:
    assert known_roles(model) == Roles()
