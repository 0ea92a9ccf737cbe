"""No text is kept for ever: what was deleted from the source is in no table and no stage once its time is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.stages.upkeep import STAGES, keep_in_order
from vector_pipeline.store.fencing import take_over
from vector_pipeline.store.manifest import finish_attempt
from vector_pipeline_tests.support.pipelines import Ingest

# It runs whole ingests.
pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str) -> Settings:
    return Settings.of(home=tmp_path / "home", database_url=fresh_database_url, keep_stages_days=0, grace_seconds=0)


def kept(pipeline: Pipeline) -> list[Path]:
    return [path for path in Path(pipeline.settings.storage_url).rglob("*") if path.is_file()]


def only_arrival(pipeline: Pipeline) -> str:
    with pipeline.database.connect() as connection:
        ((key,),) = connection.execute("SELECT key FROM arrivals").fetchall()
    return str(key)


def holds(pipeline: Pipeline, text: str) -> list[str]:
    """The tables of the database with a row that has a text in any of its columns."""
    with pipeline.database.connect() as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        query = "SELECT count(*) FROM {} t WHERE t::text LIKE '%%' || %s || '%%'"
        counts = {name: connection.execute(query.format(name).encode(), (text,)).fetchone() for (name,) in tables}
    return [name for name, count in counts.items() if count != (0,)]


def test_a_deleted_files_text_is_nowhere(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    run(corpus)
    assert holds(pipeline, "The hives are opened")
    (corpus / "bees.txt").unlink()
    run(corpus)
    keep_in_order(pipeline)
    assert holds(pipeline, "The hives are opened") == []
    assert holds(pipeline, "Flour, water and salt")
    assert kept(pipeline) == []
    with pipeline.database.connect() as connection:
        (space,) = connection.execute("SELECT name FROM spaces").fetchall()
        count = f"SELECT (SELECT count(*) FROM embeddings_{space[0]}) + count(*) FROM embeddings_{space[0]}_landing"
        assert (
            connection.execute(count.encode()).fetchone()
            == connection.execute("SELECT count(DISTINCT content_hash) FROM chunks").fetchone()
        )


def test_what_a_killed_run_left_goes_with_its_arrival(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    run(corpus)
    arrival = only_arrival(pipeline)
    folder = Path(pipeline.settings.storage_url) / STAGES[0]
    folder.mkdir(parents=True, exist_ok=True)
    left, other = folder / f"{arrival}.parquet.1234abcd.partial", folder / "20990101T000000Z-001.parquet.x.partial"
    for path in (left, other):
        path.write_bytes(b"text")
    with pipeline.database.connect() as connection:
        take_over(connection, arrival)
        finish_attempt(connection, arrival)
    keep_in_order(pipeline)
    assert kept(pipeline) == [other]


def test_stages_stay_until_every_file_is_loaded_and_go_when_a_later_arrival_has_taken_them(
    pipeline: Pipeline, corpus: Path, run: Ingest
) -> None:
    run(corpus)
    first = only_arrival(pipeline)
    # As a run that was killed while it loaded leaves them.
    with pipeline.database.connect() as connection:
        connection.execute("UPDATE source_files SET status = 'pending'")
        take_over(connection, first)
    path = Path(pipeline.stage_files.uri("chunks", first))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"text")
    keep_in_order(pipeline)
    assert kept(pipeline) == [path]

    for file in corpus.iterdir():
        file.write_text(f"{file.read_text()} And more.")
    run(corpus)
    keep_in_order(pipeline)
    assert kept(pipeline) == []
