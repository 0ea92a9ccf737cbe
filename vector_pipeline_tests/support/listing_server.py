"""A store that answers listings as S3 does, each after a delay. It can be started in a process of its own:

python -m vector_pipeline_tests.support.listing_server KEYS SECONDS
"""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

_HEAD = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


class ListingServer(ThreadingHTTPServer):
    """A bucket `texts` with some keys. `requests` counts what was asked for, by the number of keys asked for."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, keys: Sequence[str], seconds: float, *, name: str = "AmazonS3", page: int = 1_000) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys = list(keys)
        self.seconds = seconds
        self.name = name
        self.page = page
        self.requests: dict[int, int] = {}
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        self.is_ordered = self.keys == sorted(self.keys)
        self.listed = [_listed(key) for key in self.keys]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ListingServer

    def version_string(self) -> str:
        return self.server.name

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        at_most = int(asked.get("max-keys", "1000"))
        server = self.server
        with server.lock:
            server.requests[at_most] = server.requests.get(at_most, 0) + 1
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        time.sleep(server.seconds)
        body = _listing(server, asked, at_most).encode()
        with server.lock:
            server.under_way -= 1
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


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
    server = ListingServer(keys, seconds, name=name)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def made_keys(number: int) -> list[str]:
    """Keys as of a bucket that grew over years: some folders are large, some small, and some files lie beside them."""
    keys = {f"mail/2026/{n % 12 + 1:02}/{n % 28 + 1:02}/message-{n:08}.eml" for n in range(number // 2)}
    keys |= {f"wiki/pages/{n * 2654435761 % 2**32:08x}.md" for n in range(number // 4)}
    keys |= {f"보관/{chr(0xAC00 + n * 7 % 11_172)}{n}.txt" for n in range(number // 8)}
    keys |= {f"{n:06}.txt" for n in range(number - len(keys))}
    return sorted(keys)


if __name__ == "__main__":
    started = ListingServer(made_keys(int(sys.argv[1])), float(sys.argv[2]), page=int(sys.argv[3]))
    sys.stdout.write(started.url + "\n")
    sys.stdout.flush()
    started.serve_forever()
