"""The asset `token_batches`: what the plan would cost, and what needs no payment."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline.embedding.models import usd
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.stages.streams import PlannedText, from_reader
from vector_pipeline_tests.support.runs import materialize, metadata_of, registered

PLANNED = ("documents", "chunks", "token_batches")


def plan(pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path) -> tuple[dict[str, object], list[PlannedText]]:
    arrival = registered(pipeline, instance, corpus)
    result = materialize(pipeline, instance, arrival, *PLANNED)
    assert result.success
    with pipeline.stage_files.read("token_batches", arrival) as reader:
        return metadata_of(result, "token_batches"), list(from_reader(reader, PlannedText))


def test_texts_that_occur_twice_are_planned_once(pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path) -> None:
    (corpus / "again.txt").write_bytes((corpus / "bees.txt").read_bytes())
    found, texts = plan(pipeline, instance, corpus)
    assert (found["texts"], found["tokens"]) == (len(texts), sum(text.token_count for text in texts))
    assert len({text.content_hash for text in texts}) == len(texts)
    assert found["requests"] == len({text.batch for text in texts})
    assert int(str(found["chunks_reused"])) > 0
    assert int(str(found["tokens_reused"])) > 0


@pytest.mark.parametrize(
    ("model", "price", "known"),
    [("text-embedding-3-small", None, True), ("a-model-of-ours", None, False), ("a-model-of-ours", 2.5, True)],
)
def test_the_cost_is_estimated_where_the_price_is_known(
    settings: Settings,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    corpus: Path,
    model: str,
    price: float,
    known: bool,
) -> None:
    paid = settings.model_copy(
        update={"model": model, "usd_per_million_tokens": price, "openai_base_url": "http://127.0.0.1:9/v1"}
    )
    found, texts = plan(Pipeline(paid, pipeline.database), instance, corpus)
    assert ("usd_estimated" in found) == known
    if known:
        tokens = sum(text.token_count for text in texts)
        assert found["usd_estimated"] == usd(model, tokens, usd_per_million_tokens=price)
    assert {text.space for text in texts} == ({"a-model-of-ours"} if model == "a-model-of-ours" else {texts[0].space})
