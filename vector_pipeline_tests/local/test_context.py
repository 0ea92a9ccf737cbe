"""What stands in front of chunks: kept with the vectors, never in the text, and changed only when that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from vector_pipeline.local.ingest import IngestReport, ingest
from vector_pipeline.local.instance import open_instance_in_process
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.queries.estimate import estimate
from vector_pipeline.queries.search import search
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.corpus import scalar

TEXT = "# Leave\n\n## Carers\n\nUp to eight days a year are paid."


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str) -> Settings:
    return Settings.of(home=tmp_path / "home", database_url=fresh_database_url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "handbook"
    found.mkdir()
    (found / "holidays.md").write_text(TEXT)
    (found / "bees.txt").write_text("Bees make honey on the roof.")
    return found


def run(settings: Settings, folder: Path) -> IngestReport:
    with open_pipeline(settings) as pipeline, open_instance_in_process(settings) as instance:
        return ingest(pipeline, [str(folder)], instance=instance)


def recorded(settings: Settings) -> object:
    with open_pipeline(settings) as pipeline, pipeline.database.connect() as connection:
        return scalar(connection, "SELECT context FROM text_context")


def test_a_file_is_found_by_its_name_and_shown_as_it_is(settings: Settings, folder: Path) -> None:
    assert run(settings, folder).embedded == 2
    assert recorded(settings) == "title"
    with open_pipeline(settings) as pipeline:
        (found,) = search(pipeline, "holidays", mode="words")
        assert found.page_content == TEXT
        assert search(pipeline, "what do holidays bring", 1)[0].source == "holidays.md"


def test_paragraphs_stay_without(settings: Settings, folder: Path) -> None:
    run(settings.model_copy(update={"chunk_strategy": "paragraph"}), folder)
    assert recorded(settings) == "none"


def test_what_was_loaded_without_stays_so_until_it_is_asked_for(settings: Settings, folder: Path) -> None:
    plain = settings.model_copy(update={"context": "none"})
    run(plain, folder)
    assert run(settings, folder).embedded == 0
    assert recorded(settings) == "none"
    with_headings = settings.model_copy(update={"context": "headings"})
    with open_pipeline(settings) as pipeline:
        assert estimate(pipeline, str(folder)).tokens == 0
    with open_pipeline(with_headings) as pipeline:
        costs = estimate(pipeline, str(folder))
    # The file without headings is looked at again, and its vector is used again.
    assert (costs.chunks, costs.reused) == (2, 1)
    report = run(with_headings, folder)
    assert (report.embedded, report.tokens) == (1, costs.tokens)
    assert recorded(settings) == "headings"
    assert run(settings, folder).embedded == 0
