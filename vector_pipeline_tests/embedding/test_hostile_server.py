"""What a hostile or broken server may send, and what a machine may be set up with: bounded, and said in a line."""

from __future__ import annotations

import gzip
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import pytest

from vector_pipeline.embedding.batch.api import open_api
from vector_pipeline.embedding.endpoint import Endpoint
from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.errors import ConfigurationError, ProviderError, ProviderRefused, ProviderUnavailable
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.asking import assert_right, config, embed, many
from vector_pipeline_tests.support.openai_server import RunningServer, serve
from vector_pipeline_tests.support.openai_server.embedding import vector_of

Speak = Callable[[socket.socket, bytes], None]


@contextmanager
def speaking(speak: Speak) -> Iterator[RunningServer]:
    """A server that says whatever `speak` writes to each connection, given the head of its first request."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_one(connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head and (part := connection.recv(65_536)):
                head += part
            try:
                speak(connection, head)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        yield RunningServer(url, seen=None, stop=listener.close)  # type: ignore[arg-type]
    finally:
        listener.close()


def endless(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * (1 << 20))


def endless_error(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    while True:
        connection.sendall(b"no, no, no. " * (1 << 16))


@cache
def many_spaces() -> bytes:
    """A quarter of a gigabyte, in a quarter of a megabyte."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(b" " * (1 << 20)) for _ in range(256)) + packer.flush()


def bomb(connection: socket.socket, _: bytes) -> None:
    body = many_spaces()
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def other_encoding(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 3\r\n\r\nabc")


def not_gzip(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc")


ANSWERS = [
    (endless, ProviderUnavailable, "more than"),
    (endless_error, ProviderRefused, "no, no, no"),
    (bomb, ProviderUnavailable, "more than"),
    (other_encoding, ProviderUnavailable, "encoded as 'br'"),
    (not_gzip, ProviderUnavailable, "says it is gzip"),
]


@pytest.mark.parametrize(("speak", "raised", "says"), ANSWERS, ids=[a[0].__name__ for a in ANSWERS])
def test_an_answer_takes_no_more_memory_than_its_inputs_and_dimensions_ask_for(
    speak: Speak, raised: type[ProviderError], says: str
) -> None:
    many_spaces()
    with speaking(speak) as server:
        tracemalloc.start()
        try:
            with pytest.raises(raised, match=says):
                embed(server, many(2), retry_seconds=0.5)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 32 << 20


def test_a_compressed_answer_is_read() -> None:
    """Of its vectors' base64 little can be saved, of lists of numbers a half."""

    def speak(connection: socket.socket, _: bytes) -> None:
        rows = [{"index": n, "embedding": vector_of(i.text, 64).tolist()} for n, i in enumerate(many(3))]
        body = gzip.compress(str({"data": rows}).replace("'", '"').encode())
        head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    with speaking(speak) as server:
        assert_right(embed(server, many(3), dimensions=64), 64)


@pytest.mark.parametrize("value", ["9" * 300, "9" * 400, "1e308", "-" + "9" * 300, "9" * 300 + "ms"])
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms", "message"])
def test_a_wait_that_is_no_time_is_told_in_a_line(name: str, value: str) -> None:
    def speak(connection: socket.socket, _: bytes) -> None:
        header = f"{name}: {value}\r\n" if name != "message" else ""
        message = b'{"error": {"message": "Please try again in %s."}}' % value.encode()
        body = message if name == "message" else b"{}"
        head = f"HTTP/1.1 429 Too Many Requests\r\n{header}content-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    with speaking(speak) as server, pytest.raises(ProviderUnavailable) as caught:
        embed(server, many(1), retry_seconds=0.3)
    assert len(str(caught.value)) < 700


def test_credentials_of_the_base_url_that_a_server_repeats_are_not_shown() -> None:
    def speak(connection: socket.socket, head: bytes) -> None:
        line = next(line for line in head.splitlines() if line.lower().startswith(b"authorization"))
        body = b'{"error": {"message": "not allowed: %s"}}' % line
        connection.sendall(b"HTTP/1.1 401 No\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    with speaking(speak) as server:
        url = server.url.replace("http://", "http://baseuser:pass-word-1@")
        with pytest.raises(ProviderRefused, match="not allowed") as caught:
            embed(server, many(1), base_url=url)
    assert "YmFzZXVzZXI6" not in str(caught.value)
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("query", ["?api-version=2024-10-21", "?api-version=2024-10-21&key=secret-key-1", "?"])
def test_a_query_of_the_base_url_stays_behind_the_path(query: str, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[bytes] = []

    def speak(connection: socket.socket, head: bytes) -> None:
        seen.append(head.split(b" ")[1])
        connection.sendall(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\n{}")

    caplog.set_level("DEBUG")
    with speaking(speak) as server:
        url = server.url.replace("/v1", "/openai/deployments/emb") + query
        with pytest.raises(ProviderRefused):
            embed(server, many(1), base_url=url)
        with open_api(config(server, base_url=url)) as api, pytest.raises(Exception, match="403"):
            api.batches.list()
    assert seen[0].decode() == f"/openai/deployments/emb/embeddings{query.rstrip('?')}"
    assert seen[-1].decode().startswith(f"/openai/deployments/emb/batches{query.rstrip('?')}")
    assert "secret-key" not in caplog.text


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_on_the_same_host_is_followed(status: int) -> None:
    with serve() as real:
        place = real.url.removeprefix("http://127.0.0.1")

        def speak(connection: socket.socket, _: bytes) -> None:
            location = f"http://127.0.0.1{place}/embeddings"
            head = f"HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
            connection.sendall(head.encode())

        with speaking(speak) as server:
            assert_right(embed(server, many(5)))
        assert real.seen.requests == 1


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (307, "http://elsewhere.example/v1/embeddings?token=secret-token-1"),
        (308, "//me:secret-token-1@elsewhere.example/v1/embeddings"),
        (301, "/v2/embeddings"),
        (302, "/login?token=secret-token-1"),
        (307, "/v1/embeddings"),
    ],
)
def test_any_other_redirect_is_refused_with_where_it_leads(status: int, location: str) -> None:
    asked: list[bytes] = []

    def speak(connection: socket.socket, head: bytes) -> None:
        asked.append(head)
        connection.sendall(f"HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode())

    with speaking(speak) as server, pytest.raises(ProviderRefused, match=rf"{status}: .*set OPENAI_BASE_URL") as caught:
        embed(server, many(1), retry_seconds=0.5)
    assert location.split("?")[0].rpartition("@")[2].removeprefix("http:").removeprefix("//") in str(caught.value)
    assert "secret-token" not in str(caught.value)
    assert len(asked) <= 4


SURROUNDINGS = [
    ("SSL_CERT_FILE", "/nowhere/ca.pem", "SSL_CERT_FILE"),
    ("ALL_PROXY", "socks5://me:secret-word-1@127.0.0.1:1", "SOCKS"),
    ("HTTPS_PROXY", "carrier-pigeon://me:secret-word-1@127.0.0.1:1", "HTTPS_PROXY"),
]


@pytest.mark.parametrize(("variable", "value", "says"), SURROUNDINGS)
def test_what_the_machine_is_set_up_with_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=says) as caught:
        Endpoint(ClientConfig("text-embedding-3-small", 1_536, "https://127.0.0.1:9/v1"))
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(("variable", "value", "says"), SURROUNDINGS)
def test_it_is_named_before_anything_is_done(variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        Settings.from_environment({variable: value, "OPENAI_API_KEY": "sk-test"})
    assert "secret-word" not in str(caught.value)
    Settings.from_environment({variable: value})  # the embedded model asks nobody
