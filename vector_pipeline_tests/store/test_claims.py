"""Claims: no two runs send the same text, and none waits for a run that is dead."""

from __future__ import annotations

import pytest

from vector_pipeline.store.claims import Claims
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline_tests.support.corpus import hash_of

pytestmark = pytest.mark.slow

ONE, TWO, THREE = hash_of("one"), hash_of("two"), hash_of("three")


def test_what_one_has_claimed_another_does_not_get(database: Database) -> None:
    with Claims(database, "s") as first, Claims(database, "s") as second:
        assert first.claim([ONE, TWO]) == {ONE, TWO}
        assert second.claim([TWO, THREE]) == {THREE}


def test_what_is_claimed_already_is_ours_still(database: Database) -> None:
    """A claim whose answer was lost with the connection is made again."""
    with Claims(database, "s") as claims:
        claims.claim([ONE])
        assert claims.claim([ONE, TWO]) == {ONE, TWO}


def test_claims_in_different_spaces_do_not_meet(database: Database) -> None:
    with Claims(database, "s") as first, Claims(database, "t") as second:
        assert first.claim([ONE]) == {ONE}
        assert second.claim([ONE]) == {ONE}


def test_what_was_released_can_be_claimed(database: Database) -> None:
    with Claims(database, "s") as first, Claims(database, "s") as second:
        first.claim([ONE, TWO, THREE])
        first.release([ONE])
        assert second.claim([ONE, TWO]) == {ONE}
        first.release([TWO, THREE])
        assert second.claim([TWO, THREE]) == {TWO, THREE}


def end_sessions(connection: Connection) -> None:
    """End the sessions of all claims, as a restart of the server does."""
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = 'vector_pipeline claims' AND datname = current_database()"
    )


def test_claims_are_gone_with_the_session_of_their_owner(database: Database, connection: Connection) -> None:
    with Claims(database, "s") as dying, Claims(database, "s") as second:
        assert dying.claim([ONE]) == {ONE}
        end_sessions(connection)
        assert second.claim([ONE]) == {ONE}


@pytest.mark.parametrize("crashed", [False, True])
def test_claims_come_back_with_the_next_session(database: Database, connection: Connection, crashed: bool) -> None:
    """After a crash the table, which is not logged, is empty."""
    with Claims(database, "s") as first, Claims(database, "s") as second:
        first.claim([ONE, TWO])
        first.release([TWO])
        end_sessions(connection)
        if crashed:
            connection.execute("TRUNCATE embedding_claims")
        assert first.claim([THREE]) == {THREE}
        assert second.claim([ONE, TWO, THREE]) == {TWO}
        first.release([ONE])
        assert second.claim([ONE]) == {ONE}


def test_a_claim_that_is_too_old_is_taken_over(database: Database, connection: Connection) -> None:
    with Claims(database, "s") as slow, Claims(database, "s") as second:
        slow.claim([ONE])
        connection.execute("UPDATE embedding_claims SET claimed_at = now() - interval '2 hours'")
        assert second.claim([ONE]) == {ONE}


def test_a_claim_is_kept_for_as_long_as_its_request_may_be_sent_again(
    database: Database, connection: Connection
) -> None:
    with (
        Claims(database, "s", retry_seconds=7_200) as patient,
        Claims(database, "s", retry_seconds=7_200) as second,
    ):
        patient.claim([ONE])
        connection.execute("UPDATE embedding_claims SET claimed_at = now() - interval '2 hours'")
        assert second.claim([ONE]) == set()
