"""A bucket of Google Cloud Storage behind gcsfs, as `bucket_listing` lists it.

https://cloud.google.com/storage/docs/json_api/v1/objects/list describes the requests.
"""

from __future__ import annotations

from typing import Any

from fsspec.asyn import sync

from vector_pipeline.sources.bucket_listing import BucketPart, Order, Page
from vector_pipeline.sources.properties import modified, size, tag
from vector_pipeline.sources.spool import Entry

_MOST = 1_000  # objects in an answer
_FIELDS = "nextPageToken,items(name,size,etag,md5Hash,updated)"


class Bucket(BucketPart):
    """The part of a bucket below a prefix of names."""

    needs = "_call"

    def page(self, *, after: str = "", token: str | None = None, at_most: int | None = None) -> Page:
        """The first objects after a name, or of those the objects that a token continues with. Raises what gcsfs raises.

        The store begins with the name itself, if there is an object of that name.
        """
        answer = sync(
            self.filesystem.loop,
            self.filesystem._call,
            "GET",
            "b/{}/o",
            self.name,
            prefix=self.stem or None,
            startOffset=after or None,
            pageToken=token,
            maxResults=min((at_most or _MOST) + bool(after), _MOST),
            fields=_FIELDS,
            json_out=True,
        )
        entries = [_entry(item) for item in answer.get("items", ()) if item["name"] != after]
        return Page(entries, answer.get("nextPageToken"), Order.CODE_POINTS)


def _entry(item: dict[str, Any]) -> Entry:
    return Entry(item["name"], size(item.get("size", 0)), tag(item), modified(item))
