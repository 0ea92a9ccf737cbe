"""A landing table takes no more room than its rows, wherever they stand in it."""

from __future__ import annotations

import pytest

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.lexical.maintenance import maintain_lexical
from vector_pipeline.store.reclaim import PAGES_PER_ROW, SLACK_PAGES, reclaim
from vector_pipeline_tests.support.corpus import load, scalar, space_of


def texts(count: int, words: int = 400) -> list[str]:
    return [" ".join(f"w{number}x{word}" for word in range(words)) for number in range(count)]


def pages(connection: Connection, table: str) -> int:
    found = scalar(connection, f"SELECT pg_relation_size('{table}') / 8192")
    assert isinstance(found, int)
    return found


def leave_the_last(connection: Connection, table: str, rows: int) -> None:
    """Remove all rows but those that stand last, as when they landed while the others were moved."""
    connection.execute(
        f"DELETE FROM {table} WHERE ctid NOT IN (SELECT ctid FROM {table} ORDER BY ctid DESC LIMIT {rows})"
    )


@pytest.mark.slow
def test_late_rows_do_not_keep_the_pages_of_those_before_them(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": texts(1_800)})
    leave_the_last(connection, "lexical_landing", 5)
    assert pages(connection, "lexical_landing") > 2 * SLACK_PAGES
    assert (report := maintain_lexical(database)) is not None
    assert (report.landing, report.segments) == (5, 0)
    assert pages(connection, "lexical_landing") <= 5 * PAGES_PER_ROW


@pytest.mark.slow
def test_landed_vectors_too(connection: Connection) -> None:
    landing = space_of(connection).landing
    load(connection, "A1", {"a.txt": texts(20, 3)})
    connection.execute(
        f"INSERT INTO {landing} (content_hash, embedding) SELECT gen_random_uuid(), v.embedding "
        f"FROM {landing} v, generate_series(1, 2000) LIMIT 40000"
    )
    leave_the_last(connection, landing, 5)
    assert pages(connection, landing) > 2 * SLACK_PAGES
    assert reclaim(connection, landing, 5, print)
    assert scalar(connection, f"SELECT count(*) FROM {landing}") == 5
    assert pages(connection, landing) <= 5 * PAGES_PER_ROW


@pytest.mark.slow
def test_a_table_in_use_stays_until_the_next_time(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": texts(1_800)})
    leave_the_last(connection, "lexical_landing", 5)
    said: list[str] = []
    with database.connect() as other, other.transaction():
        other.execute("SELECT count(*) FROM lexical_landing")
        assert not reclaim(connection, "lexical_landing", 5, said.append)
    assert said == ["lexical_landing is in use; the next run gives its empty pages back"]
    assert scalar(connection, "SHOW lock_timeout") == "0"
    assert reclaim(connection, "lexical_landing", 5, said.append)
    assert scalar(connection, "SELECT count(*) FROM lexical_landing") == 5
    assert len(said) == 1
