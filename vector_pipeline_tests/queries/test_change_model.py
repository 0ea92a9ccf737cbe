"""Changing the model at the pipeline's own door: what is switched to has its index, measured."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.local.ingest import ingest
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.change_model import start, switch
from vector_pipeline.queries.embed import embed_texts
from vector_pipeline.queries.search import search
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.store.space import active_space, list_spaces
from vector_pipeline.store.spaces import start_space
from vector_pipeline.store.vectors import store_vectors
from vector_pipeline_tests.support.corpus import embed, load
from vector_pipeline_tests.support.openai_server import serve
from vector_pipeline_tests.support.pipelines import Ingest

pytestmark = pytest.mark.slow

WORDS = "bees bread cabbage dogs engines ferries garlic hammers ink jackets kites lemons".split()


def test_a_space_that_finds_less_of_the_golden_set_is_refused_with_both_figures(
    pipeline: Pipeline, run: Ingest, tmp_path: Path
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    lines = []
    for word in WORDS:
        (folder / f"{word}.txt").write_text(f"All about {word}: {word} are kept in the shed.")
        lines.append({"question": f"where are the {word}?", "source": f"{word}.txt", "answer": f"{word} are kept"})
    run(folder)
    golden = tmp_path / "golden.jsonl"
    golden.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with_golden = replace(pipeline, settings=pipeline.settings.model_copy(update={"golden_set": golden}))
    with pipeline.database.connect() as connection:
        old = active_space(connection)
        assert old is not None
        worse = start_space(connection, "worse-model", old.dimensions)
        hashes = [row[0].bytes for row in connection.execute("SELECT content_hash FROM chunks ORDER BY source")]
        # Each text has the vector of another one.
        vectors = asyncio.run(embed_texts(pipeline.settings, WORDS))
        store_vectors(connection, worse, hashes, np.vstack([vectors[6:], vectors[:6]]))
    with pytest.raises(ConfigurationError, match=r"recall@5 is 0\.\d+, that of the active space 1\.000 .*--anyway"):
        switch(with_golden, worse.name)
    assert switch(with_golden, worse.name, anyway=True).name == worse.name


def test_from_the_embedded_model_to_an_api_searches_and_loads_go_on(tmp_path: Path, fresh_database_url: str) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "bees.txt").write_text("Bees make honey on the roof.")
    golden = tmp_path / "golden.jsonl"
    golden.write_text('{"question": "what do bees make?", "source": "bees.txt", "answer": "Bees make honey"}\n')
    embedded = Settings.of(home=tmp_path / "home", database_url=fresh_database_url, golden_set=golden)
    with open_pipeline(embedded) as pipeline:
        assert ingest(pipeline, [str(folder)]).loaded == 1
    with serve() as server:
        with_key = embedded.model_copy(update={"openai_base_url": server.url, "openai_api_key": SecretStr("sk-test")})
        with open_pipeline(with_key) as pipeline:
            name = start(pipeline)["name"]
            (folder / "bread.txt").write_text("Bread is flour, water and salt.")
            report = ingest(pipeline, [str(folder)])
            assert (report.loaded, report.failures) == (2, [])
            assert server.seen.billed.total() == 2
            assert search(pipeline, "who bakes bread?", 1, mode="meaning")[0].source == "bread.txt"
            assert server.seen.billed.total() == 2
            assert switch(pipeline, name).model == "text-embedding-3-small"


def test_a_space_is_switched_to_with_its_index_built_and_measured(tmp_path: Path, fresh_database_url: str) -> None:
    texts = [f"text {i}" for i in range(150)]
    with (
        open_pipeline(Settings.of(home=tmp_path, database_url=fresh_database_url)) as pipeline,
        pipeline.database.connect() as connection,
    ):
        load(connection, "A1", {"a.txt": texts})
        new = start_space(connection, "new-model", 24)
        embed(connection, texts[:100], new)
        with pytest.raises(ConfigurationError, match="misses the vectors of 50 texts"):
            switch(pipeline, new.name, worth=100)
        embed(connection, texts[100:], new)
        switched = switch(pipeline, new.name, worth=100)
        assert (switched.state, switched.ef_search) == ("active", 100)
        assert switched.recall is not None
        old = next(space for space in list_spaces(connection) if space.name != new.name)
        assert switch(pipeline, old.name, worth=100).name == old.name
        found = read_status(pipeline)
        assert found["bytes"] == sum(found["sizes"].values())
        assert all(size > 0 for size in found["sizes"].values())
        assert [space["index_bytes"] > 0 for space in found["spaces"]] == [True, True]
