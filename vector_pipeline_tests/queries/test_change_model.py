"""Changing the model at the pipeline's own door: what is switched to has its index, measured."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.queries import change_model as changing_model
from vector_pipeline.queries.change_model import switch
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.store import spaces
from vector_pipeline.store.index import maintain_index
from vector_pipeline_tests.support.corpus import embed, load


def test_a_space_is_switched_to_with_its_index_built_and_measured(
    tmp_path: Path, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "WORTH_AN_INDEX", 100)
    monkeypatch.setattr(changing_model, "maintain_index", partial(maintain_index, worth=100))
    texts = [f"text {i}" for i in range(150)]
    with (
        open_pipeline(Settings.of(home=tmp_path, database_url=fresh_database_url)) as pipeline,
        pipeline.database.connect() as connection,
    ):
        load(connection, "A1", {"a.txt": texts})
        new = spaces.start_space(connection, "new-model", 24)
        embed(connection, texts[:100], new)
        with pytest.raises(ConfigurationError, match="misses the vectors of 50 texts"):
            switch(pipeline, new.name)
        embed(connection, texts[100:], new)
        switched = switch(pipeline, new.name)
        assert (switched.state, switched.ef_search) == ("active", 100)
        assert switched.recall is not None
        old = next(space for space in spaces.list_spaces(connection) if space.name != new.name)
        assert switch(pipeline, old.name).name == old.name
        found = read_status(pipeline)
        assert found["bytes"] == sum(found["sizes"].values())
        assert all(size > 0 for size in found["sizes"].values())
        assert [space["index_bytes"] > 0 for space in found["spaces"]] == [True, True]
