"""A proxy that pools transactions is refused by name; one that pools sessions is not."""

from __future__ import annotations

import pytest

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.store.connection import Database
from vector_pipeline.store.schema import migrate
from vector_pipeline_tests.support.pooler import pooler

pytestmark = pytest.mark.slow


def test_a_proxy_that_pools_transactions_is_refused(fresh_database_url: str) -> None:
    with (
        pooler(fresh_database_url, whole_sessions=False) as running,
        pytest.raises(ConfigurationError, match=r"gives each transaction another session.*pool_mode = session"),
    ):
        migrate(Database(running.url))


def test_a_proxy_that_pools_sessions_is_as_good_as_a_server(fresh_database_url: str) -> None:
    with pooler(fresh_database_url, whole_sessions=True) as running:
        assert migrate(Database(running.url))
