"""One opening for all definitions of a pipeline: its names, and the pipeline that is held open or opened."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.options import DagsterOptions
from vector_pipeline.errors import DatabaseUnavailable
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import Settings


@pytest.mark.parametrize(
    ("prefix", "key"),
    [(None, ["law", "chunks"]), ([], ["chunks"]), (["search", "law"], ["search", "law", "chunks"])],
)
def test_names_follow_the_settings_and_asset_keys_the_host(
    tmp_path: Path, prefix: list[str] | None, key: list[str]
) -> None:
    opening = Opening(Settings.of(home=tmp_path, name="law"), options=DagsterOptions(key_prefix=prefix))
    assert opening.names.asset("chunks") == dg.AssetKey(key)
    assert opening.names.of("ingest") == "law_ingest"


def test_a_pipeline_that_is_held_open_is_used_and_stays_open(pipeline: Pipeline) -> None:
    opening = Opening(pipeline.settings, pipeline)
    for _ in range(2):
        with opening.pipeline() as found, found.database.connect() as connection:
            assert found is pipeline
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_otherwise_the_pipeline_is_opened_and_its_tables_made(settings: Settings) -> None:
    with Opening(settings).pipeline() as found, found.database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM source_files").fetchone() == (0,)


def test_a_database_that_is_away_is_one_error(tmp_path: Path) -> None:
    away = Settings.of(home=tmp_path, database_url="postgresql://me:do-not-show@127.0.0.1:9/texts")
    with pytest.raises(DatabaseUnavailable, match="does not answer") as raised, Opening(away).pipeline():
        pass
    assert "do-not-show" not in str(raised.value)


def test_no_secret_is_in_its_representation(tmp_path: Path, pipeline: Pipeline) -> None:
    """Dagster shows the arguments of a function that fails."""
    settings = Settings.of(
        home=tmp_path, database_url="postgresql://me:do-not-show@127.0.0.1:9/texts", openai_api_key="sk-do-not-show"
    )
    assert "do-not-show" not in repr(Opening(settings, pipeline))
    assert pipeline.database.url not in repr(Opening(settings, pipeline))
