"""A pipeline on a real database with the embedded model, and a corpus to change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline.local.ingest import IngestReport, ingest
from vector_pipeline.local.instance import open_instance_in_process
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings

Ingest = Callable[..., IngestReport]


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str) -> Settings:
    # Without context a text is what its file says, wherever it stands: most tests count texts.
    return Settings.of(home=tmp_path / "home", database_url=fresh_database_url, context="none")


@pytest.fixture
def pipeline(settings: Settings) -> Iterator[Pipeline]:
    with open_pipeline(settings) as opened:
        yield opened


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance_in_process(settings) as opened:
        yield opened


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three files of a few paragraphs each, one of them in Korean."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "bees.txt").write_text("Bees make honey on the roof.\n\nThe hives are opened in spring.")
    (folder / "bread.md").write_text("# Bread\n\nFlour, water and salt.\n\n## Baking\n\nBake it for half an hour.")
    (folder / "김치.txt").write_text("김치는 배추로 담급니다.\n\n두 주가 지나면 잘 익습니다.")
    return folder


@pytest.fixture
def run(pipeline: Pipeline, instance: dg.DagsterInstance) -> Ingest:
    """`ingest` of some folders, as the command line does it."""

    def run_ingest(*folders: Path, confirm_deletions: bool = False) -> IngestReport:
        return ingest(pipeline, [str(f) for f in folders], instance=instance, confirm_deletions=confirm_deletions)

    return run_ingest
