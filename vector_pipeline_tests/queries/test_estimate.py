"""An estimate is what `ingest` then takes, and reads and pays nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from vector_pipeline.embedding.models import usd
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.estimate import estimate
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.pipelines import Ingest


@pytest.mark.slow
def test_it_foretells_what_ingest_takes_and_then_only_the_change(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    (corpus / "copy.txt").write_text((corpus / "bees.txt").read_text())
    foretold = estimate(pipeline, str(corpus))
    report = run(corpus)
    assert (foretold.files, foretold.chunks, foretold.tokens) == (report.loaded, report.chunks, report.tokens)
    assert foretold.reused == report.reused == 1
    again = estimate(pipeline, str(corpus))
    assert (again.files, again.chunks, again.tokens, again.requests) == (0, 0, 0, 0)
    (corpus / "bees.txt").write_text("The hives moved to the garden in autumn.")
    changed = estimate(pipeline, str(corpus))
    assert (changed.files, changed.chunks) == (1, 1)


def test_the_same_text_in_two_sources_is_paid_once(pipeline: Pipeline, corpus: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "bees.txt").write_text((corpus / "bees.txt").read_text())
    alone, both = estimate(pipeline, str(corpus)), estimate(pipeline, str(corpus), str(more))
    assert (both.files, both.tokens, both.reused) == (alone.files + 1, alone.tokens, 1)


@pytest.mark.parametrize(("tokens_per_minute", "requests_per_minute"), [(100, None), (None, 1), (10, 1_000)])
def test_minutes_follow_the_scarcer_limit_and_money_the_tokens(
    tmp_path: Path, fresh_database_url: str, corpus: Path, tokens_per_minute: int | None, requests_per_minute: int | None
) -> None:
    settings = Settings.of(
        home=tmp_path / "home",
        database_url=fresh_database_url,
        openai_api_key="sk-of-the-test",
        tokens_per_minute=tokens_per_minute,
        requests_per_minute=requests_per_minute,
    )
    with open_pipeline(settings) as pipeline:
        found = estimate(pipeline, str(corpus))
    assert found.usd == usd("text-embedding-3-small", found.tokens)
    assert found.usd_batch == pytest.approx((found.usd or 0) / 2)
    by_tokens = found.tokens / tokens_per_minute if tokens_per_minute else 0.0
    by_requests = found.requests / requests_per_minute if requests_per_minute else 0.0
    assert found.minutes == pytest.approx(max(by_tokens, by_requests), abs=1e-3)


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_counted(pipeline: Pipeline, corpus: Path) -> None:
    (corpus / "broken.json").write_text("{")
    found = estimate(pipeline, str(corpus))
    assert [rejected["source"] for rejected in found.rejected] == ["broken.json"]
    assert found.files == 3
