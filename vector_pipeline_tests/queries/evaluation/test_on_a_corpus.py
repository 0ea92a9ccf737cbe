"""A golden set asked of a loaded corpus, and what it lets a switch do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.evaluation.evaluate import evaluate, require_no_worse
from vector_pipeline.store.space import active_space
from vector_pipeline_tests.support.pipelines import Ingest

GOLDEN = """{"question": "what do bees make?", "source": "bees.txt", "answer": "Bees make honey"}
{"question": "김치는 무엇으로 담급니까?", "source": "김치.txt", "answer": "배추로 담급니다"}
{"question": "where is it?", "source": "none.txt", "answer": "nowhere"}
{"question": "how long?", "source": "bread.md", "answer": "for an hour"}
"""


@pytest.mark.slow
def test_a_golden_set_is_measured_and_may_refuse_a_switch(
    pipeline: Pipeline, corpus: Path, run: Ingest, tmp_path: Path
) -> None:
    run(corpus)
    golden = tmp_path / "golden.jsonl"
    golden.write_text(GOLDEN)
    found = evaluate(pipeline, golden, modes=["hybrid", "words"], k=3)
    assert found["questions"] == 2
    assert found["recall"]["value"] == found["modes"]["hybrid"]["recall"]["value"] == 1
    assert found["mrr"]["low"] <= found["mrr"]["value"] <= found["mrr"]["high"]
    assert set(found["modes"]["words"]["languages"]) == {"Latin", "Korean"}
    assert [problem["line"] for problem in found["problems"]] == [3, 4]

    with pipeline.database.connect() as connection:
        space = active_space(connection)
    assert space is not None
    with_golden = replace(pipeline, settings=pipeline.settings.model_copy(update={"golden_set": golden}))
    require_no_worse(with_golden, space.name)
    unreachable = with_golden.settings.model_copy(update={"min_retrieval_recall": 1.0})
    golden.write_text(GOLDEN.replace("what do bees make?", "flour"))
    with pytest.raises(ConfigurationError, match="--anyway"):
        require_no_worse(replace(with_golden, settings=unreachable), space.name, k=1)
    with pytest.raises(ConfigurationError, match="no golden set"):
        evaluate(pipeline, None)
