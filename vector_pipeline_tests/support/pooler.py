"""A proxy that pools transactions, as pgbouncer with `pool_mode = transaction` does: one session for all clients.

Just enough of the protocol (https://www.postgresql.org/docs/current/protocol.html) to be told from a server by nothing
but what it does: a client is admitted without a password, and its messages go to the one session that there is, which is
given to another client whenever no transaction is open.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


class TransactionPooler:
    """Listens on a port of this machine. `whole_sessions` gives each client a session of its own."""

    def __init__(self, url: str, *, whole_sessions: bool) -> None:
        self._url = url
        self._whole_sessions = whole_sessions
        self._shared = self._session()
        self._busy = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The URL of the database, through the pooler."""
        host, port = self._listener.getsockname()
        return f"postgresql://{self._shared.info.user}@{host}:{port}/{self._shared.info.dbname}?sslmode=disable"

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self._shared.close()

    def _session(self) -> psycopg.Connection[object]:
        return psycopg.connect(self._url, autocommit=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        session, busy = (self._session(), threading.Lock()) if self._whole_sessions else (self._shared, self._busy)
        with contextlib.suppress(OSError, EOFError), client:
            self._admit(client, session)
            server = socket.socket(fileno=socket.dup(session.fileno()))
            server.setblocking(True)
            while _one_transaction(client, server, busy):
                pass

    def _admit(self, client: socket.socket, session: psycopg.Connection[object]) -> None:
        (length,) = struct.unpack(">i", _read(client, 4))
        _read(client, length - 4)
        answer = _message(b"R", struct.pack(">i", 0))
        for name in (
            "server_version",
            "server_encoding",
            "client_encoding",
            "DateStyle",
            "TimeZone",
            "integer_datetimes",
        ):
            value = session.info.parameter_status(name) or ""
            answer += _message(b"S", name.encode() + b"\0" + value.encode() + b"\0")
        # The process that it names is none of the server's: a key to cancel by, as poolers make them up.
        client.sendall(answer + _message(b"K", struct.pack(">ii", 424_242, 1)) + _message(b"Z", b"I"))


def _one_transaction(client: socket.socket, server: socket.socket, busy: threading.Lock) -> bool:
    """Pass messages on, both ways, until no transaction is open; False where the client is gone."""
    kind, message = _next(client)
    with busy:
        awaited = 0
        while kind != b"X":
            server.sendall(message)
            awaited += kind in (b"S", b"Q")
            while not select.select([client], [], [], 0)[0]:
                if select.select([server], [], [], 0.01)[0]:
                    kind, message = _next(server)
                    client.sendall(message)
                    awaited -= kind == b"Z"
                    if kind == b"Z" and message[-1:] == b"I" and not awaited:
                        return True
            kind, message = _next(client)
    return False


def _read(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = source.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _next(source: socket.socket) -> tuple[bytes, bytes]:
    head = _read(source, 5)
    return head[:1], head + _read(source, struct.unpack(">i", head[1:])[0] - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


@contextmanager
def pooler(url: str, *, whole_sessions: bool) -> Iterator[TransactionPooler]:
    """A pooler in front of the database of a URL."""
    running = TransactionPooler(url, whole_sessions=whole_sessions)
    try:
        yield running
    finally:
        running.close()
