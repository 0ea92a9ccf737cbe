"""What the messages of a queue say of a bucket: which keys may have changed.

Three forms are read: notifications of S3 itself, the same in an envelope of SNS, and events of EventBridge:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

import orjson

# SNS may stand behind EventBridge. Deeper envelopes have no use.
_MOST_ENVELOPES = 3


class UnreadableMessage(Exception):
    """A message that is none of the forms. The text says what it is."""


@dataclass(frozen=True, slots=True)
class Hint:
    """An object that may have come, changed or gone, by the name of its bucket and its key."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a queue. `receipt` is what deletes it."""

    body: str
    receipt: str = field(repr=False)


def hints_in(body: str) -> list[Hint]:
    """The objects that a message names; none for the test message that S3 sends when notifications are set up.

    What happened to them is not read: messages come late, twice and in any order, so only the present object counts.
    Raises UnreadableMessage.
    """
    content = _json(body)
    for _ in range(_MOST_ENVELOPES):
        if not (content.get("Type") == "Notification" and isinstance(content.get("Message"), str)):
            break
        content = _json(content["Message"])
    if content.get("Event") == "s3:TestEvent":
        return []
    try:
        if "detail-type" in content:
            return list(_of_event_bridge(content))
        if isinstance(content.get("Records"), list):
            return [_of_record(record) for record in content["Records"]]
    except (KeyError, TypeError, AttributeError):
        raise UnreadableMessage("names no object of a bucket") from None
    raise UnreadableMessage("is no event of S3")


def _json(text: str) -> dict[str, Any]:
    try:
        content = orjson.loads(text)
    except ValueError:
        raise UnreadableMessage("is no JSON") from None
    if not isinstance(content, dict):
        raise UnreadableMessage("is no JSON object")
    return content


def _of_record(record: Any) -> Hint:
    named = record["s3"]
    return _hint(named["bucket"]["name"], unquote_plus(named["object"]["key"], errors="surrogateescape"))


def _of_event_bridge(content: dict[str, Any]) -> Iterator[Hint]:
    named = content["detail"]
    bucket, key = named["bucket"]["name"], named["object"]["key"]
    yield _hint(bucket, key)
    # Some senders encode the key as S3's own notifications do. An object that does not exist costs one request.
    if (decoded := unquote_plus(key, errors="surrogateescape")) != key:
        yield _hint(bucket, decoded)


def _hint(bucket: Any, key: Any) -> Hint:
    if not (isinstance(bucket, str) and isinstance(key, str) and bucket and key):
        raise TypeError("a name that is no text")
    return Hint(bucket, key)
