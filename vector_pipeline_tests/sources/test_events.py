"""The forms in which a queue names objects of buckets, and messages that have none of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.sources.events import Hint, UnreadableMessage, hints_in


def of_s3(*keys: str, bucket: str = "texts", **more: Any) -> dict[str, Any]:
    named = {"bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"}}
    return {
        "Records": [
            {
                "eventVersion": "2.6",
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {**named, "object": {"key": key, "sequencer": "0055AED6DCD90281E5", **more}},
            }
            for key in keys
        ]
    }


def of_event_bridge(key: str) -> dict[str, Any]:
    return {
        "version": "0",
        "detail-type": "Object Deleted",
        "source": "aws.s3",
        "detail": {"bucket": {"name": "texts"}, "object": {"key": key}, "deletion-type": "Delete Marker Created"},
    }


def in_sns(content: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:…", "Message": json.dumps(content)}


def keys(content: dict[str, Any]) -> list[str]:
    return [hint.key for hint in hints_in(json.dumps(content))]


def test_the_keys_of_s3_are_decoded_as_form_data() -> None:
    assert keys(of_s3("in/red+flower.txt", "a%2Bb.txt", "%EA%B9%80%EC%B9%98.txt", "a%25.txt")) == [
        "in/red flower.txt",
        "a+b.txt",
        "김치.txt",
        "a%.txt",
    ]


def test_an_object_with_a_version_is_named_by_its_key() -> None:
    assert hints_in(json.dumps(of_s3("a.txt", versionId="3/L4kqtJlcpXroDTDmJ"))) == [Hint("texts", "a.txt")]


def test_envelopes_are_opened() -> None:
    assert keys(in_sns(of_s3("a+b.txt"))) == ["a b.txt"]
    assert keys(in_sns(in_sns(of_event_bridge("a.txt")))) == ["a.txt"]


def test_event_bridge_names_keys_as_they_are_and_both_spellings_are_looked_at() -> None:
    assert keys(of_event_bridge("김치.txt")) == ["김치.txt"]
    assert keys(of_event_bridge("a+b%20c.txt")) == ["a+b%20c.txt", "a b c.txt"]


def test_the_test_message_of_s3_names_nothing() -> None:
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "texts"}
    assert keys(test) == []
    assert keys(in_sns(test)) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "is no JSON"),
        ("Hello", "is no JSON"),
        ("[1]", "is no JSON object"),
        ("{}", "is no event of S3"),
        ('{"Records": "none"}', "is no event of S3"),
        ('{"Records": [{"Sns": {}}]}', "names no object of a bucket"),
        ('{"Records": [{"s3": {"bucket": {"name": "texts"}, "object": {"key": 7}}}]}', "names no object of a bucket"),
        ('{"detail-type": "Object Created", "detail": {"bucket": {}}}', "names no object of a bucket"),
        ('{"Type": "Notification", "Message": "Hello"}', "is no JSON"),
    ],
)
def test_a_message_of_another_form_is_told_apart_by_what_it_is(body: str, problem: str) -> None:
    with pytest.raises(UnreadableMessage, match=problem):
        hints_in(body)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Records", "s3", "bucket", "name", "object", "key", "detail", "detail-type", "Type", "Message"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.one_of(JSON.map(json.dumps), st.text(max_size=20)))
def test_whatever_a_message_holds_it_names_objects_or_is_unreadable(body: str) -> None:
    try:
        found = hints_in(body)
    except UnreadableMessage:
        return
    assert all(hint.bucket and hint.key for hint in found)


@given(st.text(min_size=1, max_size=20))
def test_any_key_comes_back(key: str) -> None:
    from urllib.parse import quote_plus

    try:
        quoted = quote_plus(key)
    except UnicodeEncodeError:
        return  # S3 has no such key
    assert keys(of_s3(quoted)) == [key]
