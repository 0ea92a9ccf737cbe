"""A run in a process of its own, to be interrupted: `python -m … HOME DATABASE_URL API_URL [TEXTS]`."""

from __future__ import annotations

import sys
from pathlib import Path

from vector_pipeline.pipeline.model import client_config
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.stages.embeddings.plan import embed_plan
from vector_pipeline.stages.streams import PlannedText
from vector_pipeline_tests.support.asking import many

TEXTS = 600
PER_REQUEST = 10
SPACE = "text_embedding_3_small_1536"


def main(home: str, database_url: str, api_url: str, texts: str = str(TEXTS)) -> None:
    """Embed it all, unless interrupted."""
    settings = Settings.of(
        home=Path(home), database_url=database_url, openai_base_url=api_url, openai_api_key="sk-test", max_in_flight=8
    )
    with open_pipeline(settings) as pipeline:
        inputs = enumerate(many(int(texts)))
        plan = [PlannedText(n // PER_REQUEST, SPACE, i.content_hash, i.text, i.tokens) for n, i in inputs]
        embed_plan(pipeline, plan, client_config(settings))


if __name__ == "__main__":
    main(*sys.argv[1:])
