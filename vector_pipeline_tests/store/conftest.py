"""A connection to a database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vector_pipeline.store.connection import Connection, Database


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(role="test") as connection:
        yield connection
