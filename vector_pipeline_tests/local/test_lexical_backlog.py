"""A database of an earlier version gets its lexical index by the next run, though no file has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vector_pipeline.errors import DatabaseError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.search import search
from vector_pipeline_tests.support.pipelines import Ingest


def test_the_next_run_indexes_the_words_of_what_was_loaded_before(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    run(corpus)
    with pipeline.database.connect() as connection:
        # As after the migration of a database that has chunks.
        connection.execute("TRUNCATE lexical_landing")
        connection.execute("INSERT INTO lexical_backlog VALUES ('00000000-0000-0000-0000-000000000000')")
    with pytest.raises(DatabaseError, match="run `vector-pipeline ingest`"):
        search(pipeline, "honey", mode="words")
    assert search(pipeline, "bees make honey")[0].source == "bees.txt"  # by meaning meanwhile
    assert run(corpus).embedded == 0
    assert [result.source for result in search(pipeline, "honey", mode="words")] == ["bees.txt"]
