"""Sources do not get into each other's way, and nothing is started in place of what was forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.home import prepare_home
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.queries.forget import forget_root
from vector_pipeline.settings import Settings
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import scan
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.txt").write_text("A text.")
    (tmp_path / "texts-of-others").mkdir()
    (tmp_path / "texts-of-others" / "b.txt").write_text("Another.")
    return folder


def look(database: Database, folder: Path) -> None:
    scan(database, open_source(str(folder)), ScanOptions())


@pytest.mark.parametrize(("first", "second"), [("", "inner"), ("inner", "")])
def test_roots_that_contain_one_another_are_refused_by_name(
    database: Database, texts: Path, first: str, second: str
) -> None:
    look(database, texts / first)
    with pytest.raises(ConfigurationError, match="contain one another") as refusal:
        look(database, texts / second)
    assert f"--forget-root '{texts / first}'" in str(refusal.value)


def test_names_that_merely_begin_alike_are_no_roots_within_one_another(database: Database, texts: Path) -> None:
    look(database, texts)
    look(database, texts.with_name("texts-of-others"))
    with database.connect() as connection:
        assert len(manifest.known_roots(connection)) == 2


def test_a_forgotten_root_is_out_of_the_table_and_in_nobodys_way(database: Database, texts: Path) -> None:
    look(database, texts)
    look(database, texts.with_name("texts-of-others"))
    assert forget_root(database, str(texts)) == 1
    with database.connect() as connection:
        statuses = dict(connection.execute("SELECT path, status FROM source_files").fetchall())
    assert statuses == {"inner/a.txt": "deleted", "b.txt": "pending"}
    look(database, texts / "inner")
    with pytest.raises(ConfigurationError, match="nothing was ingested from '/never'; there is "):
        forget_root(database, "/never")


def test_a_home_that_was_used_with_a_database_does_not_start_a_server_of_its_own(
    tmp_path: Path, fresh_database_url: str
) -> None:
    with open_pipeline(Settings.of(home=tmp_path, database_url=fresh_database_url)):
        pass
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL is not set, but .* was last used with"):
        prepare_home(Settings.of(home=tmp_path))
