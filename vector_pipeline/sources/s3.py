"""A bucket behind s3fs, as `bucket_listing` lists it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiobotocore.session import AioSession
from botocore.utils import parse_timestamp

from vector_pipeline.sources.bucket_listing import BucketPart, Order, Page
from vector_pipeline.sources.spool import Entry

# Stores that list keys in the order of their UTF-8 bytes, by the header Server of their answers. Others are listed by
# one chain of requests and sorted: a folder of a file system may come before a file whose name begins like it.
_KEEP_ORDER = ("AmazonS3", "MinIO", "Ceph")

# Directory buckets (S3 Express One Zone) list keys in no order:
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
_WITHOUT_ORDER = "--x-s3"

_MOST = 1_000  # keys in an answer


def read_times_quickly(filesystem: Any) -> None:
    """Let the client of S3 read times by Python's own parser: botocore's takes five sixths of the time of a listing.

    A client that is already connected keeps its parser.
    """
    if filesystem.session is None:
        session = AioSession(**filesystem.kwargs)
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
        filesystem.session = session


def _time(value: Any) -> Any:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return parse_timestamp(value)


class Bucket(BucketPart):
    """The part of a bucket below a prefix of keys."""

    needs = "call_s3"

    def page(self, *, after: str = "", token: str | None = None, at_most: int | None = None) -> Page:
        """The first keys after a key, or of those the keys that a token continues with. Raises what s3fs raises."""
        place = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}
        asked = {"Bucket": self.name, "Prefix": self.stem, "MaxKeys": at_most or _MOST, **place}
        found = self.filesystem.call_s3("list_objects_v2", **asked)
        server = str(found.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("server", ""))
        keeps_order = server.startswith(_KEEP_ORDER) and not self.name.endswith(_WITHOUT_ORDER)
        return Page(
            [_entry(listed) for listed in found.get("Contents", ())],
            found.get("NextContinuationToken") if found.get("IsTruncated") else None,
            Order.CODE_POINTS if keeps_order else None,
        )


def _entry(listed: dict[str, Any]) -> Entry:
    modified = listed.get("LastModified")
    since = modified.timestamp() if isinstance(modified, datetime) else 0.0
    return Entry(listed["Key"], listed["Size"], listed.get("ETag", ""), since)
