"""RunLocks tell who is alive, and outlast a Postgres that went away for a moment."""

from __future__ import annotations

import pytest

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.locks import alive, in_progress
from vector_pipeline.store.run_locks import RunLocks
from vector_pipeline_tests.support.dev import wait_for


def test_what_is_held_is_seen_and_given_back(database: Database) -> None:
    with database.connect() as connection:
        with RunLocks(database, "run") as locks:
            locks.hold_arrival("20261125T000000Z-001")
            assert in_progress(connection, ["20261125T000000Z-001", "20261125T000000Z-002"]) == {"20261125T000000Z-001"}
        assert in_progress(connection, ["20261125T000000Z-001"]) == set()


@pytest.mark.slow
def test_locks_are_taken_again_where_the_connection_was_lost(database: Database) -> None:
    with RunLocks(database, "lost", look_every_seconds=0.1) as locks, database.connect() as connection:
        locks.hold_run("run")
        locks.hold_arrival("20261125T000000Z-001")
        lost = _backend(connection)
        connection.execute("SELECT pg_terminate_backend(%s)", (lost,))

        def is_held_again() -> bool:
            is_back = _backend(connection) not in (None, lost)
            return is_back and alive(connection, ["run"], settle_seconds=0.0) == {"run"}

        wait_for(is_held_again, 30)
        assert in_progress(connection, ["20261125T000000Z-001"])
    with database.connect() as connection:
        assert alive(connection, ["run"], settle_seconds=0.0) == set()


def _backend(connection: Connection) -> int | None:
    query = (
        "SELECT pid FROM pg_stat_activity "
        "WHERE application_name = 'vector_pipeline lost' AND datname = current_database()"
    )
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def test_of_a_server_that_just_came_up_nothing_is_said(database: Database) -> None:
    with database.connect() as connection:
        assert alive(connection, ["run"], settle_seconds=1e9) == {"run"}
