"""A server whose clock was set back: what it wrote before has times in the future, and nothing waits for them."""

from __future__ import annotations

import pytest

from vector_pipeline.store import rejected_texts
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.failed_arrivals import Failure, fail_attempt, failed_arrivals
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.inspections import inspect_rows
from vector_pipeline.store.locks import alive
from vector_pipeline.store.manifest import FileChange, register_arrival
from vector_pipeline_tests.support.corpus import hash_of, load, own


@pytest.mark.parametrize(("failure", "back", "due"), [("passing", "3 hours", True), ("other", "3 hours", False)])
def test_a_failed_arrival_waits_no_longer_than_it_may(
    connection: Connection, failure: Failure, back: str, due: bool
) -> None:
    own(connection, "A1", ["a.txt"])
    fail_attempt(connection, "A1", "it failed", failure)
    assert [found.is_due for found in failed_arrivals(connection)] == [False]
    connection.execute("UPDATE arrivals SET retry_at = retry_at + %s::interval", (back,))
    assert [found.is_due for found in failed_arrivals(connection)] == [due]
    connection.execute("UPDATE arrivals SET retry_at = retry_at + interval '30 days'")
    assert [found.is_due for found in failed_arrivals(connection)] == [True]


def test_all_files_are_inspected(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one", "two"]})
    assert inspect_rows(connection).whole
    connection.execute("UPDATE inspections SET made_at = made_at + interval '30 days'")
    assert inspect_rows(connection).whole
    assert not inspect_rows(connection).whole


def test_recall_is_measured(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a": [f"text {number}" for number in range(300)]})
    maintain_index(database, worth=100)
    connection.execute("UPDATE spaces SET measured_at = measured_at + interval '30 days'")
    load(connection, "A2", {"b": ["one more text"]})
    (report,) = maintain_index(database, worth=100)
    assert report.p50_ms is not None


def test_a_refused_text_is_sent_again(connection: Connection) -> None:
    rejected_texts.store_rejections(connection, "space", {hash_of("text"): "refused"})
    assert rejected_texts.find_rejections(connection, ["space"], [hash_of("text")])
    connection.execute("UPDATE rejected_texts SET rejected_at = rejected_at + interval '30 days'")
    assert not rejected_texts.find_rejections(connection, ["space"], [hash_of("text")])


def test_a_run_without_its_lock_is_not_taken_for_one_of_a_server_that_just_came_up(connection: Connection) -> None:
    assert alive(connection, ["run"], settle_seconds=1e9) == {"run"}
    assert alive(connection, ["run"], settle_seconds=-1.0) == set()


def test_an_error_with_a_zero_byte_is_noted(connection: Connection) -> None:
    own(connection, "A1", ["a.txt"])
    fail_attempt(connection, "A1", "half a \x00 message")
    assert [found.error for found in failed_arrivals(connection)] == ["half a   message"]


def test_arrivals_are_in_order_however_many_there_are_in_a_second(connection: Connection) -> None:
    """After the clock was set back all arrivals are of the last second that it had reached."""
    keys = ["20990101T000000Z-998"]
    own(connection, keys[0], ["a.txt"])
    keys += [register_arrival(connection, "/corpus", "cli", [FileChange(f"{n}.txt", 1, "1")]) for n in range(4)]
    assert keys[1:] == ["20990101T000000Z-999", *(f"20990101T000001Z-00{n}" for n in (1, 2, 3))]
    assert keys == sorted(keys)
