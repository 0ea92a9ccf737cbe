"""What servers of stores share: they count requests, and answer them after a delay."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Generic, TypeVar


class CountingServer(ThreadingHTTPServer, ABC):
    """`requests` counts listings by the number of keys asked for."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: type[BaseHTTPRequestHandler], seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.seconds = seconds
        self.requests: Counter[int] = Counter()
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    @abstractmethod
    def variables(self) -> dict[str, str]:
        """By these a client finds the server."""

    @contextmanager
    def counted(self, at_most: int) -> Iterator[None]:
        """A listing of so many keys; it takes the time that the server was given."""
        with self.lock:
            self.requests[at_most] += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        time.sleep(self.seconds)
        try:
            yield
        finally:
            with self.lock:
                self.under_way -= 1


Server = TypeVar("Server", bound=CountingServer)


class Handler(BaseHTTPRequestHandler, Generic[Server]):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, body: bytes, headers: Mapping[str, str], *, status: int = 200) -> None:
        """Headers may state the length of a body that is not sent."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):  # gcsfs leaves a request that it no longer needs
            self.wfile.write(body)


@contextmanager
def served(server: Server) -> Iterator[Server]:
    """The server in a thread of this process."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
