"""One client embedding the texts of a file: run by benchmarks.pacing, with the Python that has the client installed.

    python benchmarks/clients.py CLIENT URL TEXTS    TEXTS: a JSON list; prints CPU seconds, seconds, peak memory in MB

Only what is measured is imported, and after the texts are read: nothing of vector_pipeline for the peers.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

MODEL = "text-embedding-3-small"
KEY = "sk-benchmark"

Embed = Callable[[Sequence[str]], object]


def plain_loop(url: str) -> Embed:
    """What a tutorial does: groups of 100,000 tokens (here: characters / 4), one after another."""
    import openai

    client = openai.OpenAI(base_url=url, api_key=KEY)

    def embed(texts: Sequence[str]) -> object:
        vectors: list[list[float]] = []
        group: list[str] = []
        size = 0
        for text in [*texts, None]:
            if group and (text is None or size + len(text) > 400_000):
                answer = client.embeddings.create(model=MODEL, input=group)
                vectors += [row.embedding for row in answer.data]
                group, size = [], 0
            if text is not None:
                group.append(text)
                size += len(text)
        return vectors

    return embed


def langchain(url: str) -> Embed:
    """LangChain's client, without its token counting."""
    from langchain_openai import OpenAIEmbeddings

    client = OpenAIEmbeddings(model=MODEL, base_url=url, api_key=KEY, check_embedding_ctx_length=False)
    return lambda texts: client.embed_documents(list(texts))


def llama_index(url: str) -> Embed:
    """LlamaIndex's client."""
    from llama_index.embeddings.openai import OpenAIEmbedding

    client = OpenAIEmbedding(model=MODEL, api_base=url, api_key=KEY, embed_batch_size=1_000)
    return lambda texts: client.get_text_embedding_batch(list(texts))


def ours(url: str) -> Embed:
    """Ours, with the tokens of each text counted before."""
    import asyncio
    import itertools

    from pydantic import SecretStr

    from vector_pipeline.embedding import flow
    from vector_pipeline.embedding.client import Answer, ClientConfig, EmbeddingClient, EmbeddingInput
    from vector_pipeline.embedding.pacing.pacer import LocalPacer

    config = ClientConfig(MODEL, base_url=url, api_key=SecretStr(KEY))

    async def run(texts: Sequence[str]) -> int:
        count = 0

        async def deliver(answer: Answer) -> None:
            nonlocal count
            count += len(answer.inputs)

        inputs = (EmbeddingInput(text, len(text) // 4, b"") for text in texts)
        batches = iter(lambda: list(itertools.islice(inputs, 250)), [])
        async with EmbeddingClient(config, LocalPacer()) as client:
            await flow.embed_batches(client, batches, deliver, max_in_flight=32)
        return count

    return lambda texts: asyncio.run(run(texts))


CLIENTS = {"ours": ours, "plain loop": plain_loop, "langchain": langchain, "llama_index": llama_index}


def main() -> None:
    """Read, import, measure, print."""
    name, url, path = sys.argv[1:]
    texts = json.loads(Path(path).read_text())
    embed = CLIENTS[name](url)
    embed(texts[:10])
    cpu, wall = time.process_time(), time.monotonic()
    embed(texts)
    used = (time.process_time() - cpu, time.monotonic() - wall)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([*used, peak]))


if __name__ == "__main__":
    main()
