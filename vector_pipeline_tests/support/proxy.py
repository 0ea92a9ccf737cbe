"""A TCP proxy in front of a real Postgres that can lose connections in every way that networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import unquote, urlsplit

Fate = Literal["pass", "cut", "cut after"]
Judge = Callable[[bytes], Fate]
"""What becomes of bytes that a client sends: passed on; the connection cut instead; or cut once they are passed on."""


class Proxy:
    """Passes everything on, unless it is to do otherwise."""

    def __init__(self, url: str, address: str = "127.0.0.1") -> None:
        self._target = url
        self._listener = socket.create_server((address, 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.judge: Judge = lambda _: "pass"
        self.refusing = False
        self.silent = False
        """Nothing is passed on, and nobody hears of it."""
        self._together = threading.Event()
        self._together.set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the database, through the proxy."""
        address = urlsplit(self._target)
        host, port = self._listener.getsockname()
        user = address.netloc.rpartition("@")[0]
        return f"postgresql://{user}@{host}:{port}{address.path}"

    def cut(self) -> None:
        """Close all connections at once."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _close(end)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody is there, as while a server restarts."""
        self.refusing = True
        self.cut()
        try:
            yield
        finally:
            self.refusing = False

    @contextmanager
    def partitioned(self) -> Iterator[None]:
        """The network is divided for longer than the server keeps a session, and neither side hears of it.

        At the end, the clients learn that their connections are gone.
        """
        self.silent = True
        self._together.clear()
        with self._lock:
            servers = [server for _, server in self._pairs]
        for server in servers:
            _close(server)
        try:
            yield
        finally:
            with self.away():
                self.silent = False
                self._together.set()

    def close(self) -> None:
        """End it."""
        self._together.set()
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    _close(client)
                    continue
                server = self._connect()
                with self._lock:
                    self._pairs.append((client, server))
                for source, sink, judged in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=(source, sink, judged), daemon=True).start()

    def _connect(self) -> socket.socket:
        address = urlsplit(self._target)
        query = dict(part.split("=", 1) for part in address.query.split("&") if part)
        if "host" in query:
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{unquote(query['host'])}/.s.PGSQL.{query.get('port', '5432')}")
            return server
        return socket.create_connection((address.hostname or "localhost", address.port or 5432))

    def _pass_on(self, source: socket.socket, sink: socket.socket, judged: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.silent:
                    continue
                fate = self.judge(data) if judged else "pass"
                if fate == "cut":
                    break
                sink.sendall(data)
                if fate == "cut after":
                    break
        self._together.wait()
        # The server carries out what it was sent; the client never hears of it.
        _close(source)
        _close(sink)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def proxy_to(url: str, address: str = "127.0.0.1") -> Iterator[Proxy]:
    """A proxy in front of the server of a URL, at a loopback address."""
    proxy = Proxy(url, address)
    try:
        yield proxy
    finally:
        proxy.close()
