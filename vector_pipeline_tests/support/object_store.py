"""A real S3 server (moto's, over HTTP)."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer


@contextmanager
def serve_store(address: str) -> Iterator[dict[str, str]]:
    """A server without buckets at a loopback address; yields the variables by which clients find it."""
    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        # Its buckets live as long as this process, and a server before this one may have left some.
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", b"").close()
        yield {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }
    finally:
        server.stop()
