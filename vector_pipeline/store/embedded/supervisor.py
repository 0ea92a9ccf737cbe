"""Parent of the embedded Postgres: starts it, reaps it, and stops it when its last user is gone.

Run as a script with the standard library alone, so that it is small and independent of whoever started it:

    python -I supervisor.py HOME BINARIES
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

LINGER_SECONDS = 2.0
"""The server outlives its last user by this much, so that commands run one after another share it."""

# The path of a Unix socket has at most 107 bytes on Linux, 103 on macOS (sockaddr_un).
MAX_SOCKET_PATH = 100

# A parallel build of an index needs more shared memory than the 64 MB a container's /dev/shm has by default.
ENOUGH_SHARED_MEMORY = 1 << 30


class Layout:
    """Where things are under a home."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.folder = f"{home}/postgres"
        self.data = f"{self.folder}/data"
        self.log = f"{self.folder}/server.log"
        self.users = f"{self.folder}/users.lock"
        self.starting = f"{self.folder}/starting.lock"
        self.socket_folder = self.folder
        # Only when the path is too long, since anybody may make folders in /tmp.
        if len(f"{self.folder}/.s.PGSQL.5432".encode()) > MAX_SOCKET_PATH:
            self.socket_folder = f"/tmp/vector_pipeline-{hashlib.sha256(home.encode()).hexdigest()[:16]}"


def main(home: str, binaries: str) -> int:
    """Run the server until its last user is gone or it dies by itself; returns the exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    layout = Layout(home)
    user = _server_user(layout, binaries)
    if not Path(layout.data, "PG_VERSION").exists():
        try:
            _initialize(layout, binaries, user)
        except subprocess.CalledProcessError as error:
            return error.returncode  # initdb has said why
    _remove_stale_pid(layout)
    server = subprocess.Popen(
        [f"{binaries}/postgres", "-D", layout.data, "-k", layout.socket_folder, *_server_settings()],
        stdin=subprocess.DEVNULL,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        # Without a controlling terminal and in a group of its own: Ctrl-C at a user's terminal is not for it.
        start_new_session=True,
        # A supervisor that is killed takes its server along: nobody else would ever stop it.
        preexec_fn=_end_with_parent(),
    )
    unused = threading.Event()
    threading.Thread(target=_stop_after_last_user, args=(layout, server, unused), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))
    code = server.wait()
    if unused.is_set() and layout.socket_folder != layout.folder:
        with contextlib.suppress(OSError):
            Path(layout.socket_folder).rmdir()
    return code


def _end_with_parent() -> Callable[[], None] | None:
    """What a child does to get a "fast shutdown" signal when its parent is gone; None where there is no such thing."""
    if sys.platform != "linux":
        return None
    # Looked up here: between fork and exec nothing is imported. PR_SET_PDEATHSIG, see prctl(2).
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, signal.SIGINT, 0, 0, 0)


def _server_settings() -> list[str]:
    settings = {
        "listen_addresses": "",  # a Unix socket and nothing else
        "unix_socket_permissions": "0700",  # there is no password: nobody else on the machine may connect
        "shared_buffers": "256MB",
        "max_connections": "200",
        "max_wal_size": "2GB",
        "maintenance_work_mem": "256MB",
        "effective_cache_size": f"{max(512, _memory_mb() // 2)}MB",
        "log_checkpoints": "off",
        "timezone": "UTC",
    }
    if _shared_memory() < ENOUGH_SHARED_MEMORY:
        settings["dynamic_shared_memory_type"] = "mmap"
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _memory_mb() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def _shared_memory() -> int:
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return status.f_frsize * status.f_bavail


def _server_user(layout: Layout, binaries: str) -> int | None:
    """The user that the server runs as: None for this one, another where this one is root."""
    uid = server_uid(layout)
    if uid == os.geteuid():
        return None
    for folder in (layout.folder, layout.socket_folder, binaries):
        # The right to pass through, not to list: no more than the server needs to reach its folders.
        for place in [Path(folder), *Path(folder).parents]:
            mode = place.stat().st_mode
            if not mode & 0o001:
                place.chmod(mode | 0o001)
    os.chown(layout.folder, uid, uid)
    os.chown(layout.socket_folder, uid, uid)
    return uid


def server_uid(layout: Layout) -> int:
    """The id of the user that the server of a home runs as: this process's, unless that is root."""
    if os.geteuid() != 0:
        return os.geteuid()
    import pwd

    data = Path(layout.data)
    if data.exists():
        return data.stat().st_uid
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return 65_534


def _initialize(layout: Layout, binaries: str, user: int | None) -> None:
    """Make a cluster beside its place and move it there: one that was interrupted half-way is never taken for one."""
    fresh = f"{layout.data}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    # The builtin provider sorts and folds UTF-8 the same way on every machine, whatever locales it has.
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    subprocess.run(
        [f"{binaries}/initdb", "-D", fresh, "-U", "postgres", "--auth=trust", "--encoding=UTF8", *locale],
        check=True,
        stdin=subprocess.DEVNULL,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    Path(fresh).rename(layout.data)


def _remove_stale_pid(layout: Layout) -> None:
    """Remove a postmaster.pid whose process is gone, a zombie, or by now something else than this server.

    Postgres itself only looks whether a process with that pid exists, which after the restart of a container is
    likely: pids are low and come again.
    """
    path = Path(layout.data, "postmaster.pid")
    for _ in range(600):
        try:
            pid = int(path.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            break
        if not _is_this_server(pid, layout.data):
            path.unlink(missing_ok=True)
            break
        time.sleep(0.1)  # it is on its way down
    Path(layout.socket_folder, ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _is_this_server(pid: int, data: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, IndexError):
        return _is_running_elsewhere(pid)
    return state != "Z" and data.encode() in command


def _is_running_elsewhere(pid: int) -> bool:
    """Where there is no /proc (macOS): whether `ps` knows the process as a postgres."""
    if Path("/proc/self").exists():
        return False
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "stat=,command="], capture_output=True, text=True, check=False)
    return "postgres" in shown.stdout and not shown.stdout.startswith("Z")


def _stop_after_last_user(layout: Layout, server: subprocess.Popen[bytes], unused: threading.Event) -> None:
    descriptor = os.open(layout.users, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    time.sleep(LINGER_SECONDS)  # whoever started this holds the lock by now
    while True:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits without polling until nobody holds it
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(LINGER_SECONDS)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        # Kept until this process ends: a new user waits for the lock and then starts a new server.
        unused.set()
        server.send_signal(signal.SIGINT)  # "fast shutdown": sessions are ended, everything is written
        server.wait()
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
