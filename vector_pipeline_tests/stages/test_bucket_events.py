"""Scans of the objects that events name, on a real server of S3 and SQS (moto's): the object counts as it is now."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vector_pipeline.errors import SourceError
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.events import Message
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.queue import EventQueue
from vector_pipeline.sources.selection import Choice
from vector_pipeline.stages.bucket_events import EventsTaken, Received, scan_events, with_events
from vector_pipeline.stages.scan import scan
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline_tests.sources.test_events import of_s3
from vector_pipeline_tests.support.object_store import Events, client

pytestmark = pytest.mark.slow

ROOT = "s3://texts/in"


@pytest.fixture
def events(bucket: str, database: Database) -> Events:
    """A bucket with two files that were scanned, and its queue."""
    put("in/bees.txt", "Bees make honey.")
    put("in/hives.txt", "Hives stand on the roof.")
    scan(database, open_source(ROOT), ScanOptions())
    return Events()


def put(key: str, text: str) -> None:
    client("s3").put_object(Bucket="texts", Key=key, Body=text.encode())


def delete(key: str) -> None:
    client("s3").delete_object(Bucket="texts", Key=key)


def take(database: Database, events: Events, options: ScanOptions | None = None) -> EventsTaken:
    queue = EventQueue(events.url)
    sources = with_events([open_source(ROOT)])
    return scan_events(database, Received(queue, sources, queue.receive(1_000)), options or ScanOptions())


def owned(database: Database, taken: EventsTaken) -> dict[str, bool]:
    """The files of the arrivals, and whether they are gone."""
    with database.connect() as connection:
        return {
            file.path: file.gone
            for result in taken.results
            for arrival in result.arrivals
            for file in manifest.owned_files(connection, arrival)
        }


@pytest.mark.parametrize("way", [Events.from_s3, Events.through_sns, Events.through_event_bridge])
def test_what_came_changed_and_went_is_registered_and_nothing_else_is_looked_at(
    database: Database, events: Events, way: Callable[[Events], None]
) -> None:
    put("in/unnamed.txt", "Of before the notifications were set up.")
    way(events)
    put("in/bees.txt", "Bees make wax.")
    put("in/a new+name 김치.txt", "배추")
    delete("in/hives.txt")
    taken = take(database, events)
    assert owned(database, taken) == {"bees.txt": False, "a new+name 김치.txt": False, "hives.txt": True}
    assert [(r.new, r.changed, r.deleted) for r in taken.results] == [(1, 1, 1)]
    assert not taken.passed_over
    assert events.left == 0


def test_the_same_events_again_and_in_another_order_do_nothing(database: Database, events: Events) -> None:
    events.from_s3()
    put("in/new.txt", "First.")
    delete("in/new.txt")
    put("in/new.txt", "Second.")
    queue = EventQueue(events.url)
    messages = queue.receive(10)
    sources = with_events([open_source(ROOT)])
    first = scan_events(database, Received(queue, sources, messages[::-1]), ScanOptions())
    assert owned(database, first) == {"new.txt": False}
    for order in (messages, [*messages, *messages]):
        again = scan_events(database, Received(queue, sources, order), ScanOptions())
        assert owned(database, again) == {}


def test_an_event_of_a_deletion_does_not_delete_what_is_there(database: Database, events: Events) -> None:
    events.send(json.dumps({"Records": [{**of_s3("in/bees.txt")["Records"][0], "eventName": "ObjectRemoved:Delete"}]}))
    taken = take(database, events)
    assert [(r.deleted, r.unchanged) for r in taken.results] == [(0, 1)]


def test_what_cannot_be_used_is_passed_over_by_name_and_deleted(database: Database, events: Events) -> None:
    events.send("Hello")
    events.send(json.dumps(of_s3("in/a.txt", bucket="of-another")))
    events.send(json.dumps(of_s3("elsewhere/a.txt")))
    events.send(json.dumps(of_s3("in/../a.txt")))
    events.send(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "texts"}))
    events.send(json.dumps(of_s3("in/folder/", "in/.hidden.txt", "in/.git/a.txt", "in/picture.png", "in/gone.txt")))
    put("in/new.txt", "A new file.")
    events.send(json.dumps(of_s3("in/new.txt")))
    taken = take(database, events)
    assert owned(database, taken) == {"new.txt": False}
    assert sorted(taken.passed_over) == [
        "'../a.txt': name has . or .. between slashes, by which another file may be meant; rename it",
        "'of-another/in/a.txt', which belongs to no source",
        "'texts/elsewhere/a.txt', which belongs to no source",
        "a message that is no JSON: 'Hello'",
    ]
    assert events.left == 0
    assert str(taken).startswith("7 events: 1 new")


def test_the_rules_of_what_to_leave_out_hold(database: Database, events: Events) -> None:
    put("in/.vectorignore", "*.md\n")
    events.from_s3()
    for name in ("a.txt", "b.md", "c.txt"):
        put(f"in/{name}", "A text.")
    taken = take(database, events, ScanOptions(choice=Choice(exclude="c.txt")))
    assert owned(database, taken) == {"a.txt": False}
    assert [r.left_out for r in taken.results] == [2]


def test_new_rules_ask_for_a_listing(database: Database, events: Events) -> None:
    events.from_s3()
    put("in/.vectorignore", "bees.txt")
    put("in/deep/.vectorignore", "is read in the root alone")
    assert take(database, events).rules_changed == [ROOT]


def test_messages_stay_until_what_they_caused_is_committed(database: Database, events: Events) -> None:
    events.from_s3()
    put("in/new.txt", "A new file.")
    with database.connect() as connection:
        connection.execute("ALTER TABLE arrivals RENAME TO elsewhere")
    with pytest.raises(Exception, match="arrivals"):
        take(database, events)
    assert events.left == 2
    with database.connect() as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO arrivals")


def test_without_its_bucket_no_object_counts_as_deleted(database: Database, events: Events) -> None:
    events.send(json.dumps(of_s3("in/bees.txt", "in/hives.txt")))
    for key in ("in/bees.txt", "in/hives.txt"):
        delete(key)
    client("s3").delete_bucket(Bucket="texts")
    with pytest.raises(SourceError, match="cannot be listed"):
        take(database, events)
    assert events.left == 1
    with database.connect() as connection:
        assert manifest.count_files(connection).deleted == 0


def test_a_queue_that_does_not_exist_is_named(events: Events) -> None:
    with pytest.raises(SourceError, match=r"queue of VECTOR_PIPELINE_EVENTS_URL '.*/nowhere' does not exist"):
        EventQueue(events.url.replace("events", "nowhere")).receive(1)


def test_a_queue_that_cannot_be_reached_is_named(events: Events, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be reached"):
        EventQueue("http://127.0.0.1:1/123456789012/events").receive(1)


def test_more_messages_than_one_request_holds_are_received_and_deleted(events: Events) -> None:
    for number in range(25):
        events.send(str(number))
    queue = EventQueue(events.url)
    messages: list[Message] = queue.receive(23)
    assert len({message.body for message in messages}) == 23
    queue.delete(messages)
    assert events.left == 2


@pytest.mark.parametrize(
    ("url", "region", "endpoint"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/texts", "eu-west-1", "https://sqs.eu-west-1.amazonaws.com"),
        (
            "https://us-gov-west-1.queue.amazonaws.com/123456789012/texts",
            "us-gov-west-1",
            "https://sqs.us-gov-west-1.amazonaws.com",
        ),
        ("http://elasticmq:9324/000000000000/texts", "ap-northeast-2", "http://elasticmq:9324"),
    ],
)
def test_the_region_of_a_queue_is_that_of_its_url(
    url: str, region: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-northeast-2")
    meta = EventQueue(url)._client.meta
    assert (meta.region_name, meta.endpoint_url) == (region, endpoint)
