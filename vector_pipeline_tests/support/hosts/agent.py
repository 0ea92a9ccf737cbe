"""What runs on a worker: it starts processes of runs, and says whether they and the machine are well.

`python -m … ADDRESS PORT CLOCK_AHEAD_SECONDS`. All that a run gets, its launcher sends; the rest is this machine's own
environment. A run is a fork of this process, which has imported what runs need; the imports would take longer than the
work of a test. Runs belong to this process's group, so that a kill of the group is the loss of a machine.

The clock of the machine is `time.time`: Dagster stamps events with it, and the pipeline reads it. The clocks of Postgres
and of the store are theirs.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

CONNECT_SECONDS = 2


def ahead(clock: Callable[[], float], seconds: float) -> Callable[[], float]:
    """A clock that is so many seconds ahead of another."""
    return lambda: clock() + seconds


class Agent(HTTPServer):
    """The runs of a machine."""

    def __init__(self, address: tuple[str, int], execute: Callable[[str], None]) -> None:
        super().__init__(address, _Handler)
        self._execute = execute
        self._runs: dict[str, int] = {}

    def start(self, run: str, arguments: str) -> None:
        """Start the process of a run."""
        process = os.fork()
        if process:
            self._runs[run] = process
            return
        self.server_close()
        try:
            self._execute(arguments)
        except BaseException:  # noqa: BLE001 (a process that ends, whatever the reason, and must not serve)
            traceback.print_exc()
        finally:
            os._exit(0)

    def alive(self) -> list[str]:
        """The runs whose process lives."""
        self._runs = {run: process for run, process in self._runs.items() if os.waitpid(process, os.WNOHANG)[0] == 0}
        return list(self._runs)

    def is_ready(self) -> bool:
        """Whether this machine reaches the database; one that does not gets no run."""
        import psycopg

        try:
            psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=CONNECT_SECONDS).close()
        except psycopg.OperationalError:
            return False
        return True


class _Handler(BaseHTTPRequestHandler):
    server: Agent

    def do_GET(self) -> None:
        alive = " ".join(self.server.alive())
        self._answer(200 if self.path == "/runs" or self.server.is_ready() else 503, alive)

    def do_POST(self) -> None:
        arguments = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.start(self.path.removeprefix("/runs/"), arguments)
        self._answer(201, "")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Set the clock, import, and serve."""
    address, port, clock_ahead = sys.argv[1:]
    time.time = ahead(time.time, float(clock_ahead))  # before anything imports it by name
    import dagster_postgres  # noqa: F401 (what dagster.yaml names)
    from dagster._cli.api import execute_run_command

    import vector_pipeline_tests.support.hosts.definitions  # noqa: F401 (what the code location names)

    def execute(arguments: str) -> None:
        """Do what `dagster api execute_run` does."""
        execute_run_command.main([arguments], prog_name="dagster api execute_run", standalone_mode=False)

    Agent((address, int(port)), execute).serve_forever()


if __name__ == "__main__":
    main()
