"""Claims: no two runs send the same text, and none waits for a run that is dead."""

from __future__ import annotations

from vector_pipeline.store.claims import Claims
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline_tests.support.corpus import hash_of

ONE, TWO, THREE = hash_of("one"), hash_of("two"), hash_of("three")


def test_what_one_has_claimed_another_does_not_get(database: Database) -> None:
    with database.connect() as a, database.connect() as b:
        first, second = Claims(a, "s"), Claims(b, "s")
        assert first.claim([ONE, TWO]) == {ONE, TWO}
        assert second.claim([TWO, THREE]) == {THREE}


def test_claims_in_different_spaces_do_not_meet(database: Database) -> None:
    with database.connect() as a, database.connect() as b:
        assert Claims(a, "s").claim([ONE]) == {ONE}
        assert Claims(b, "t").claim([ONE]) == {ONE}


def test_what_was_released_can_be_claimed(database: Database) -> None:
    with database.connect() as a, database.connect() as b:
        first, second = Claims(a, "s"), Claims(b, "s")
        first.claim([ONE, TWO, THREE])
        first.release([ONE])
        assert second.claim([ONE, TWO]) == {ONE}
        first.release([TWO, THREE])
        assert second.claim([TWO, THREE]) == {TWO, THREE}


def test_claims_are_gone_with_the_session_of_their_owner(database: Database, connection: Connection) -> None:
    dying = database.connect()
    assert Claims(dying, "s").claim([ONE]) == {ONE}
    connection.execute("SELECT pg_terminate_backend(%s, 5000)", (dying.info.backend_pid,))
    assert Claims(connection, "s").claim([ONE]) == {ONE}
    dying.close()


def test_a_claim_that_is_too_old_is_taken_over(database: Database, connection: Connection) -> None:
    with database.connect() as slow:
        Claims(slow, "s").claim([ONE])
        connection.execute("UPDATE embedding_claims SET claimed_at = now() - interval '2 hours'")
        assert Claims(connection, "s").claim([ONE]) == {ONE}


def test_a_claim_is_kept_for_as_long_as_its_request_may_be_sent_again(
    database: Database, connection: Connection
) -> None:
    with database.connect() as patient:
        Claims(patient, "s", retry_seconds=7_200).claim([ONE])
        connection.execute("UPDATE embedding_claims SET claimed_at = now() - interval '2 hours'")
        assert Claims(connection, "s", retry_seconds=7_200).claim([ONE]) == set()
