"""Changing the model at the pipeline's own door: what is switched to has its index, measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.queries.change_model import switch
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.store.space import list_spaces
from vector_pipeline.store.spaces import start_space
from vector_pipeline_tests.support.corpus import embed, load


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
