"""The embedded model, and the client reaching it in this process."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc

import numpy as np
import pytest

from vector_pipeline.embedding.client import Answer, ClientConfig, EmbeddingClient, EmbeddingInput
from vector_pipeline.embedding.pacing.pacer import LocalPacer
from vector_pipeline.embedding.providers.embedded import EMBEDDED_DIMENSIONS, EMBEDDED_MODEL, Embedded
from vector_pipeline.embedding.providers.wordllama import WordLlamaModel
from vector_pipeline_tests.support.asking import inputs, many


@pytest.fixture(scope="module")
def provider() -> Embedded:
    return Embedded()


@pytest.fixture(scope="module")
def model() -> WordLlamaModel:
    return WordLlamaModel()


def ask(provider: Embedded, asked: list[EmbeddingInput]) -> Answer:
    async def main() -> Answer:
        config = ClientConfig(EMBEDDED_MODEL, dimensions=EMBEDDED_DIMENSIONS, provider=provider)
        async with EmbeddingClient(config, LocalPacer()) as client:
            return await client.embed(asked)

    return asyncio.run(main())


def test_the_client_gets_vectors_and_the_tokens_that_they_came_to(provider: Embedded) -> None:
    answer = ask(provider, many(20))
    assert answer.vectors.shape == (20, EMBEDDED_DIMENSIONS)
    assert answer.tokens == sum(i.tokens for i in many(20))
    assert answer.model == EMBEDDED_MODEL
    np.testing.assert_allclose(np.linalg.norm(answer.vectors, axis=1), 1.0, atol=1e-5)


def test_what_is_near_in_meaning_is_near_in_space(model: WordLlamaModel) -> None:
    bread, loaf, tyre = model.embed(["how to bake bread", "baking a loaf of sourdough", "mending a bicycle tyre"])
    assert bread @ loaf > bread @ tyre


def test_a_text_has_the_same_vector_whatever_stands_beside_it(model: WordLlamaModel) -> None:
    texts = ["one", "two words", "김치를 담그는 법", "long " * 3_000, "\x00", " "]
    together = model.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(model.embed([text])[0], vector, atol=1e-5)


def test_a_text_without_known_tokens_still_has_a_direction(model: WordLlamaModel) -> None:
    assert np.linalg.norm(model.embed([""])[0]) == pytest.approx(1.0)


def test_it_keeps_the_apis_own_limits(provider: Embedded) -> None:
    asked = [*many(3), *inputs("word " * 9_000), *many(3, 3), *inputs("more " * 8_000)]
    answer = ask(provider, asked)
    assert list(answer.rejected) == [asked[3].content_hash]
    assert len(answer.inputs) == 7


def test_memory_is_bounded_where_one_text_is_long_and_many_are_short(model: WordLlamaModel) -> None:
    texts = ["word " * 8_000, *(f"short {n}" for n in range(2_000))]
    tracemalloc.start()
    model.embed(texts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64_000_000


def test_loading_it_leaves_the_processs_logging_alone() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    WordLlamaModel()
    assert (list(root.handlers), root.level) == before
