"""A source is known by the path that the user gave, wherever its links lead."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from vector_pipeline.defs.resources import SourceResource
from vector_pipeline.errors import ConfigurationError, SourceError
from vector_pipeline.formats.pool import ReaderLimits
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.queries.forget import forget_root
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.documents import DocumentsOutcome, read_arrival
from vector_pipeline.stages.roots import gone
from vector_pipeline.stages.scan import ScanResult, scan
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline.text.readers import ReaderOptions


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """Two revisions of a folder, and a link to the first."""
    for revision, files in {"rev1": {"ferry": "noon", "bridge": "closed"}, "rev2": {"ferry": "two"}}.items():
        (tmp_path / revision).mkdir()
        for name, text in files.items():
            (tmp_path / revision / f"{name}.md").write_text(text)
    (tmp_path / "current").symlink_to("rev1")
    return tmp_path


def switch(folder: Path, revision: str) -> None:
    (folder / "next").symlink_to(revision)
    (folder / "next").rename(folder / "current")


def look(database: Database, location: Path | str) -> ScanResult:
    return scan(database, open_source(str(location)), ScanOptions())


def read(database: Database, found: ScanResult) -> set[str]:
    rows = [
        row.text
        for arrival in found.arrivals
        for row in read_arrival(database, arrival, ReaderOptions(), ReaderLimits(), DocumentsOutcome())
    ]
    with database.connect() as connection:
        connection.execute(
            "UPDATE source_files SET status = CASE WHEN gone THEN 'deleted' ELSE 'loaded' END, gone = false"
        )
    return set(rows)


def roots(database: Database) -> list[str]:
    with database.connect() as connection:
        return manifest.known_roots(connection)


def test_a_link_that_is_switched_leads_to_the_next_revision_of_the_same_source(
    database: Database, releases: Path
) -> None:
    first = look(database, releases / "current")
    assert read(database, first) == {"noon", "closed"}
    switch(releases, "rev2")
    shutil.rmtree(releases / "rev1")
    second = look(database, releases / "." / "rev2" / ".." / "current/")
    assert (second.changed, second.deleted, second.new) == (1, 1, 0)
    assert read(database, second) == {"two"}
    assert roots(database) == [str(releases / "current")]


def test_a_source_that_an_earlier_version_called_after_the_links_target_goes_on_under_that_name(
    database: Database, releases: Path
) -> None:
    name = os.path.realpath(releases / "current")
    assert read(database, scan(database, LocalSource(name), ScanOptions())) == {"noon", "closed"}
    assert look(database, releases / "current").unchanged == 2
    switch(releases, "rev2")
    shutil.rmtree(releases / "rev1")
    found = look(database, releases / "current")
    assert (found.root, found.changed, found.deleted, found.new) == (name, 1, 1, 0)
    assert read(database, found) == {"two"}
    with database.connect() as connection:
        assert gone(connection) == []
        (source,) = SourceResource(()).open(connection).sources
        assert source.root == name
    assert forget_root(database, str(releases / "current")) == 1
    assert roots(database) == []


def test_a_folder_that_is_gone_is_named_and_stops_no_other(database: Database, releases: Path) -> None:
    look(database, releases / "rev1")
    look(database, releases / "rev2")
    with database.connect() as connection:
        assert gone(connection) == []
        shutil.rmtree(releases / "rev1")
        assert gone(connection) == [str(releases / "rev1")]
        assert [source.root for source in SourceResource(()).open(connection).sources] == [str(releases / "rev2")]
        shutil.rmtree(releases / "rev2")
        with pytest.raises(SourceError, match=r"--forget-root '.*/rev1'"):
            SourceResource(()).open(connection)


def test_a_folder_is_not_loaded_twice_by_two_names(database: Database, releases: Path) -> None:
    look(database, releases / "current")
    with pytest.raises(ConfigurationError, match="contain one another"):
        look(database, releases / "rev1")
    (releases / "all").symlink_to(releases)
    with pytest.raises(ConfigurationError, match="contain one another"):
        look(database, releases / "all")
    assert look(database, releases / "rev2").new == 1


def test_a_folder_behind_a_link_and_back_is_the_one_that_the_system_means(tmp_path: Path) -> None:
    (tmp_path / "a" / "inner").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a/inner")
    assert open_source(str(tmp_path / "link" / "..")).root == str(tmp_path / "a")
    assert open_source(f"{tmp_path}/link/").root == str(tmp_path / "link")
    with pytest.raises(ConfigurationError, match="does not exist"):
        open_source(str(tmp_path / "link" / ".." / "b"))
