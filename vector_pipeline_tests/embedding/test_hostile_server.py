"""What a hostile or broken server may send, and what a machine may be set up with: bounded, and said in a line."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import orjson
import pytest

from vector_pipeline.embedding.batch.api import open_api, stated_limit
from vector_pipeline.embedding.endpoint import Endpoint
from vector_pipeline.embedding.pacing.account import Account
from vector_pipeline.embedding.pacing.limits import RateHeaders
from vector_pipeline.embedding.values import ClientConfig
from vector_pipeline.errors import ConfigurationError, ProviderError, ProviderRefused, ProviderUnavailable
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.asking import assert_right, config, embed, many
from vector_pipeline_tests.support.openai_server import RunningServer, serve
from vector_pipeline_tests.support.openai_server.embedding import vector_of

pytestmark = pytest.mark.slow

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
    # The text, and a word that tells whether it was for the text: each follows three redirects at most.
    assert len(asked) <= 2 * 4


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


def _say(status: str, body: bytes, headers: str = "") -> Speak:
    def speak(connection: socket.socket, _: bytes) -> None:
        connection.sendall(f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body)

    return speak


def _endless_head(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"x-one-more: header\r\n" * 1_000)


def _always_continue(connection: socket.socket, _: bytes) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        time.sleep(0.01)


def _drip(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


ODD_ANSWERS = {
    "endless head": _endless_head,
    "100 without end": _always_continue,
    "drip": _drip,
    "too short": lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{}"),
    "too long": lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}{}{}"),
    "bad length": lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}"),
    "bad chunks": lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    "no HTTP": lambda c, _: c.sendall(b"\x16\x03\x01\x00\x00"),
    "number of an input": _say("400 Bad Request", b'{"error": {"message": "input[%s] is wrong"}}' % (b"1" * 5_000)),
    "date": _say("503 No", b"{}", "retry-after: Mon, 01 Jan 99999999999999999999 00:00:00 GMT\r\n"),
    "indices": _say("200 OK", b'{"data": [{"index": "0", "embedding": [1]}]}'),
    "lists as indices": _say("200 OK", b'{"data": [{"index": [], "embedding": [1]}]}'),
    "twice the same index": _say("200 OK", b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0}]}'),
    "an index below 0": _say("200 OK", b'{"data": [{"index": -1, "embedding": [1]}]}'),
    "a number in its place": _say("200 OK", b"1"),
    "numbers out of range": _say("200 OK", b'{"data": [{"index": 0, "embedding": [1e300, 1]}]}'),
    "base64 of NaN": _say("200 OK", b'{"data": [{"index": 0, "embedding": "AADAfwAAwH8="}]}'),
    "half a number": _say("200 OK", b'{"data": [{"index": 0, "embedding": "AADA"}]}'),
    "deep": _say("200 OK", b"[" * 200_000),
    "deep, with NaN": _say("200 OK", b"[" * 200_000 + b"NaN"),
    "zero bytes": _say("403 No", b'{"error": {"message": "not\\u0000allowed\\u001b[31m\\u202e"}}'),
}


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_an_odd_answer_is_one_line_within_the_time(name: str) -> None:
    began = time.monotonic()
    with speaking(ODD_ANSWERS[name]) as server, pytest.raises(ProviderError) as caught:
        embed(server, many(1), retry_seconds=0.5, timeout_seconds=1.0)
    assert time.monotonic() - began < 10
    assert str(caught.value).isprintable()


NUMBERS = ["1" + "0" * 30, "1e308", "9" * 400, "inf", "nan", "-1e300", "0", "-1", "x", "", "60000"]


@pytest.mark.parametrize("limit", NUMBERS)
@pytest.mark.parametrize("left", NUMBERS)
def test_limits_that_are_no_numbers_leave_an_account_that_can_be_used(limit: str, left: str) -> None:
    """All runs share what is kept of an account, and it must not stop any of them."""
    headers = {
        f"x-ratelimit-{kind}-{what}": value
        for kind, value in (("limit", limit), ("remaining", left))
        for what in ("tokens", "requests")
    }
    account, now = Account.new(None, 0.0), 0.0
    for _ in range(4):
        ticket, seconds = account.take(10, now)
        while ticket is None:
            assert 0 < seconds <= 130
            now += seconds
            ticket, seconds = account.take(10, now)
        account.settle(ticket, RateHeaders.of(headers), now + 1)
        account = Account.from_json(orjson.loads(orjson.dumps(account)))


@pytest.mark.parametrize("digits", ["9" * 5_000, "9" * 20, ",", "1,,,1", "0"])
def test_limits_in_a_message_may_be_anything(digits: str) -> None:
    message = f"Rate limit on tokens per min (TPM): Limit {digits}, Used {digits}, Requested 1."
    assert not RateHeaders.of({}, message).stated or digits == "1,,,1"
    assert stated_limit(f"Limit: {digits} enqueued tokens") in (None, 11)


URLS = [
    "https://user:secret/word-1@host/v1",
    "https://user:secret?word-1@host/v1",
    "https://user:secret#word-1@host/v1",
    "https://user:1234/word-1@host/v1",
    "https://user:secret-w\u2100rd-1@host/v1",
    "https://user:[secret-word-1@host/v1",
]


@pytest.mark.parametrize("url", URLS)
def test_no_part_of_a_password_in_a_base_url_is_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_BASE_URL") as caught:
        Settings.from_environment({"OPENAI_BASE_URL": url})
    for part in ("secret", "word-1", "1234"):
        assert part not in str(caught.value)


@pytest.mark.parametrize("url", URLS)
def test_no_part_of_a_password_of_a_proxy_is_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    said = _said(lambda: Endpoint(ClientConfig("text-embedding-3-small", 1_536, "https://127.0.0.1:9/v1")))
    assert not any(part in said for part in ("secret", "word-1", "1234"))


def _said(work: Callable[[], object]) -> str:
    try:
        work()
    except ConfigurationError as error:
        return str(error)
    return ""
