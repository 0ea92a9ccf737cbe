"""The retrievers for LangChain and LlamaIndex in examples/, over a real corpus and with the real libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core.schema import TextNode

from examples import langchain_retriever, llama_index_retriever
from vector_pipeline import Corpus
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.pipelines import Ingest

pytestmark = pytest.mark.slow

QUESTIONS = [("how is the honey made", "bees.txt"), ("김치는 언제 익나요?", "김치.txt")]


@pytest.fixture
def searched(corpus: Path, run: Ingest, settings: Settings) -> Iterator[Corpus]:
    run(corpus)
    with Corpus.open(settings) as opened:
        yield opened


def test_langchain_finds_what_the_corpus_finds(searched: Corpus, corpus: Path) -> None:
    retriever = langchain_retriever.CorpusRetriever(corpus=searched, options={"k": 2})
    for question, source in QUESTIONS:
        documents = retriever.invoke(question)
        expected = searched.search(question, k=2)
        assert [document.page_content for document in documents] == [result.page_content for result in expected]
        assert documents[0].metadata["source"] == source
        assert documents[0].metadata["root"] == str(corpus)
        assert asyncio.run(retriever.ainvoke(question)) == documents
    (baking,) = langchain_retriever.CorpusRetriever(corpus=searched, options={"k": 1}).invoke("Bake for half an hour")
    assert baking.metadata["headings"] == ["Bread"]
    around = langchain_retriever.CorpusRetriever(corpus=searched, options={"k": 1, "context": 1, "source": "bread*"})
    assert "Flour" in around.invoke("Bake for half an hour")[0].page_content


def test_llama_index_finds_what_the_corpus_finds(searched: Corpus) -> None:
    retriever = llama_index_retriever.CorpusRetriever(searched, k=2)
    for question, source in QUESTIONS:
        nodes = retriever.retrieve(question)
        expected = searched.search(question, k=2)
        assert [(n.node.get_content(), n.score) for n in nodes] == [(r.page_content, r.score) for r in expected]
        assert nodes[0].node.metadata["source"] == source
        assert [n.node.node_id for n in asyncio.run(retriever.aretrieve(question))] == [n.node.node_id for n in nodes]
        first = nodes[0].node
        assert isinstance(first, TextNode)
        assert (first.start_char_idx, first.end_char_idx) == (expected[0].start_char, expected[0].end_char)
