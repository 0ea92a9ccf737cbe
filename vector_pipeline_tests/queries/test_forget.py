"""A root is taken out of the table without looking at its folder."""

from __future__ import annotations

import pytest

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.queries.forget import forget_root
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline_tests.support.corpus import load, scalar


def test_the_rows_of_a_forgotten_root_are_gone_and_its_files_deleted(database: Database) -> None:
    with database.connect() as connection:
        load(connection, "20261125T000000Z-001", {"a.txt": ["one", "two"], "b.txt": ["three"]})
        assert forget_root(database, "/corpus/") == 2
        assert scalar(connection, "SELECT count(*) FROM document_chunks") == 0
        assert manifest.count_files(connection).deleted == 2
        assert manifest.known_roots(connection) == []
        assert manifest.pending_arrivals(connection) == []


def test_a_root_that_nothing_was_ingested_from_is_named_with_those_that_are_known(database: Database) -> None:
    with database.connect() as connection:
        load(connection, "20261125T000000Z-001", {"a.txt": ["one"]})
        with pytest.raises(ConfigurationError, match=r"'/elsewhere'.*'/corpus'"):
            forget_root(database, "/elsewhere")
        assert scalar(connection, "SELECT count(*) FROM document_chunks") == 1
