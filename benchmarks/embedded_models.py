"""How fast the embedded models are: chunks a second of one processor's time, by language.

    python -m benchmarks.embedded_models

The chunks are those of benchmarks/labelled_set at 400 tokens. Each figure is a median of five passes; a slow model gets
some of the chunks. docs/configuration.md has the figures. Models that are not installed are left out.
"""

from __future__ import annotations

import os
import statistics
import time

from benchmarks.chunkers import TOKENIZER, labelled_set
from vector_pipeline.embedding.models import EMBEDDED_MODEL
from vector_pipeline.embedding.providers.embedded import embedded_model
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.settings import EMBEDDED_MODELS
from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_document
from vector_pipeline.text.documents import Document

PASSES = 5
SECONDS = 0.5
"""A pass repeats the chunks until it has taken this much processor time."""
SOME = 20


def chunks() -> dict[str, list[str]]:
    """The chunks by language. Those with more than a fifth of Hangul are Korean."""
    found: dict[str, list[str]] = {"English": [], "Korean": []}
    for text in labelled_set()[0].values():
        for chunk in chunk_document(Document(text), TOKENIZER, ChunkingConfig(max_tokens=400)):
            hangul = sum("가" <= character <= "힣" for character in chunk.text)
            found["Korean" if hangul > len(chunk.text) / 5 else "English"].append(chunk.text)
    return found


def rate(name: str, texts: list[str]) -> float:
    """Texts that a model embeds in a second of processor time."""
    model = embedded_model(name)
    began, done = time.process_time(), 0
    while time.process_time() - began < SECONDS:
        model.embed(texts)
        done += len(texts)
    return done / (time.process_time() - began)


def main() -> None:
    """Print a table."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads that wait for one another take processor time
    texts = chunks()
    texts["both"] = [*texts["English"], *texts["Korean"]]
    print(f"| model | {' | '.join(f'{language}, {len(some)} chunks' for language, some in texts.items())} |")
    print(f"| --- | {' | '.join('---:' for _ in texts)} |")
    for name in EMBEDDED_MODELS:
        try:
            is_slow = rate(name, texts["both"][:1]) < rate(EMBEDDED_MODEL, texts["both"][:1]) / 10
        except ConfigurationError:
            continue
        passes, most = (1, SOME) if is_slow else (PASSES, None)
        figures = [statistics.median(rate(name, some[:most]) for _ in range(passes)) for some in texts.values()]
        print(f"| {name} | {' | '.join(f'{figure:,.1f}' for figure in figures)} |")


if __name__ == "__main__":
    main()
