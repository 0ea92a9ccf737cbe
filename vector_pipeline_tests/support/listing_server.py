"""A store that answers listings as S3 does, each after a delay."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, urlsplit

from vector_pipeline_tests.support.counting_server import CountingServer, Handler, served

_HEAD = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


class ListingServer(CountingServer):
    """A bucket `texts` with some keys."""

    def __init__(self, keys: Sequence[str], seconds: float, *, name: str = "AmazonS3", page: int = 1_000) -> None:
        super().__init__(_Handler, seconds)
        self.keys = list(keys)
        self.name = name
        self.page = page
        self.is_ordered = self.keys == sorted(self.keys)
        self.listed = [_listed(key) for key in self.keys]

    @property
    def variables(self) -> dict[str, str]:
        """By these s3fs finds the server."""
        return {
            "AWS_ACCESS_KEY_ID": "t",
            "AWS_SECRET_ACCESS_KEY": "t",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }


class _Handler(Handler[ListingServer]):
    def version_string(self) -> str:
        return self.server.name

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        at_most = int(asked.get("max-keys", "1000"))
        with self.server.counted(at_most):
            body = _listing(self.server, asked, at_most).encode()
        self.answer(body, {"Content-Type": "application/xml"})


def _listed(key: str) -> str:
    return (
        f"<Contents><Key>{quote(key)}</Key><LastModified>2026-11-01T12:00:00.000Z</LastModified>"
        f"<ETag>&quot;{hash(key) & 0xFFFFFFFF:032x}&quot;</ETag><Size>{len(key)}</Size></Contents>"
    )


def _listing(server: ListingServer, asked: dict[str, str], at_most: int) -> str:
    """Everything has the prefix that is asked for. A store that does not list in order ignores `start-after`."""
    if "continuation-token" in asked:
        begin = int(asked["continuation-token"])
    else:
        begin = bisect_right(server.keys, asked.get("start-after", "")) if server.is_ordered else 0
    contents = server.listed[begin : begin + min(at_most, server.page)]
    end = begin + len(contents)
    more = end < len(server.keys)
    token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
    return (
        f"{_HEAD}<Name>texts</Name><Prefix>{quote(asked.get('prefix', ''))}</Prefix><EncodingType>url</EncodingType>"
        f"<KeyCount>{len(contents)}</KeyCount><MaxKeys>{at_most}</MaxKeys>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{''.join(contents)}</ListBucketResult>"
    )


@contextmanager
def serve_listing(keys: Sequence[str], seconds: float = 0.0, *, name: str = "AmazonS3") -> Iterator[ListingServer]:
    """A store in a thread of this process."""
    with served(ListingServer(keys, seconds, name=name)) as server:
        yield server
