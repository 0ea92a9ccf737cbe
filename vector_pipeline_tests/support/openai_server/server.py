"""The server running: on a thread of the test, or as a process of its own for benchmarks."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import httpx2
import orjson
import uvicorn

from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline_tests.support.openai_server.app import Application
from vector_pipeline_tests.support.openai_server.config import ServerConfig
from vector_pipeline_tests.support.openai_server.state import Seen


@dataclass(frozen=True)
class RunningServer:
    """Where the server is, and what it saw so far."""

    url: str
    seen: Seen
    stop: Callable[[], None]
    """Stop answering: connections are closed, and new ones refused."""

    def wait_for_requests(self, count: int) -> None:
        """Return once so many requests have come in."""
        while self.seen.requests < count:
            time.sleep(0.002)


@contextmanager
def serve(config: ServerConfig | None = None) -> Iterator[RunningServer]:
    """A server on a thread of this process."""
    application = Application(config or ServerConfig(), tokenizer_for(""))
    listener = _listen()
    server = _server(application)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.002)

    def stop() -> None:
        # Not waiting for requests that hang on purpose.
        server.should_exit = server.force_exit = True
        thread.join(timeout=10)
        listener.close()

    try:
        yield RunningServer(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", application.seen, stop)
    finally:
        stop()


@dataclass(frozen=True)
class ProcessServer:
    """A server in a process of its own."""

    url: str
    pid: int

    def start(self) -> None:
        """Let the buckets begin to fill now, if nobody has said so before; they do at the first request."""
        httpx2.post(self.url.replace("/v1", "/start"))

    def summary(self) -> dict[str, object]:
        """What it saw so far; see Seen.summary."""
        values: dict[str, object] = httpx2.get(self.url.replace("/v1", "/stats")).json()
        return values


@contextmanager
def serve_in_process(config: ServerConfig) -> Iterator[ProcessServer]:
    """A server in a process of its own, whose work is not counted as the client's."""
    command = [sys.executable, "-m", "vector_pipeline_tests.support.openai_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(orjson.dumps(asdict(config)) + b"\n")
        process.stdin.flush()
        try:
            yield ProcessServer(process.stdout.readline().decode().strip(), process.pid)
        finally:
            process.kill()


def main() -> None:
    """Serve what the line on stdin describes, and print the URL."""
    values = orjson.loads(sys.stdin.readline())
    application = Application(ServerConfig(**values), tokenizer_for(""))
    listener = _listen()
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/v1\n")
    sys.stdout.flush()
    _server(application).run(sockets=[listener])


def _listen() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    return listener


def _server(application: Application) -> uvicorn.Server:
    config = uvicorn.Config(
        application.asgi,
        log_level="critical",
        access_log=False,
        lifespan="off",
        http="httptools",
        timeout_keep_alive=30,
    )
    return uvicorn.Server(config)
