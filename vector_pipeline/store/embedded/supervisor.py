"""Parent of the embedded Postgres: starts it, reaps it, and stops it when its last user is gone.

Run as a script with the standard library alone, so that it is small and independent of whoever started it:

    python -I supervisor.py HOME BINARIES [NAME=VALUE ...]

The settings of the server that follow the machine come as arguments (`memory.py`).

Where this runs as root the server runs as a user that no account has, in its own folder and nowhere else: it enters
that by its working directory, so that no folder above has to be opened to others.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import hashlib
import hmac
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LINGER_SECONDS = 2.0
"""The server outlives its last user by this much, so that commands run one after another share it."""

# The path of a Unix socket has at most 107 bytes on Linux, 103 on macOS (sockaddr_un).
MAX_SOCKET_PATH = 100

# A parallel build of an index needs more shared memory than the 64 MB a container's /dev/shm has by default.
ENOUGH_SHARED_MEMORY = 1 << 30

PORT = 5432

# Ids between those that are given to people and those that systemd gives out.
# https://systemd.io/UIDS-GIDS/
FIRST_UID, UIDS = 40_000, 20_000

# Where the working directory of a process is found without passing the folders above it.
HERE = "/proc/self/cwd"


class Layout:
    """Where things are under a home."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.folder = f"{home}/postgres"
        self.data = f"{self.folder}/data"
        self.log = f"{self.folder}/server.log"
        self.users = f"{self.folder}/users.lock"
        self.starting = f"{self.folder}/starting.lock"
        self.password = f"{self.folder}/password"
        # A server of another user's can make its socket in its own folder alone.
        self.socket_folder = self.data if enters_by_working_directory() else self.folder
        # Only when the path is too long, since anybody may make folders in /tmp.
        if len(f"{self.socket_folder}/.s.PGSQL.{PORT}".encode()) > MAX_SOCKET_PATH:
            self.socket_folder = f"/tmp/vector_pipeline-{hashlib.sha256(home.encode()).hexdigest()[:16]}"

    def read_password(self) -> str | None:
        """The superuser's password; None where none was set yet."""
        try:
            return Path(self.password).read_text().strip()
        except FileNotFoundError:
            return None


def enters_by_working_directory() -> bool:
    """Whether the server is another user's, and the folders above its own need not be opened to it."""
    return os.geteuid() == 0 and Path(HERE).exists()


def main(home: str, binaries: str, *settings: str) -> int:
    """Run the server until its last user is gone or it dies by itself; returns the exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    layout = Layout(home)
    try:
        binaries = _reachable(binaries)
        _make(layout, binaries)
    except subprocess.CalledProcessError as error:
        return error.returncode  # initdb or postgres has said why
    _remove_stale_pid(layout)
    server = _popen(
        [
            *(f"{binaries}/postgres", "-D", _place(layout), "-k", _socket_place(layout), *_server_settings()),
            *(part for setting in settings for part in ("-c", setting)),
        ],
        layout.data,
        server_uid(layout),
        # Without a controlling terminal and in a group of its own: Ctrl-C at a user's terminal is not for it.
        start_new_session=True,
        # A supervisor that is killed takes its server along: nobody else would ever stop it.
        preexec_fn=_end_with_parent(),
    )
    unused = threading.Event()
    threading.Thread(target=_stop_after_last_user, args=(layout, server, unused), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))
    code = server.wait()
    if unused.is_set() and layout.socket_folder not in (layout.folder, layout.data):
        with contextlib.suppress(OSError):
            Path(layout.socket_folder).rmdir()
    return code


def _popen(command: list[str], folder: str, uid: int, **options: Any) -> subprocess.Popen[bytes]:
    """A process of the server's user in a folder, which it enters before it becomes that user's."""
    user = None if uid == os.geteuid() else uid
    groups = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    return subprocess.Popen(command, cwd=folder, **{"stdin": subprocess.DEVNULL, **groups, **options})


def _run(command: list[str], folder: str, uid: int, text: str = "") -> None:
    process = _popen(command, folder, uid, stdin=subprocess.PIPE)
    process.communicate(text.encode())
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def _place(layout: Layout) -> str:
    return HERE if enters_by_working_directory() else layout.data


def _socket_place(layout: Layout) -> str:
    return "." if layout.socket_folder == layout.data else layout.socket_folder


def _make(layout: Layout, binaries: str) -> None:
    """Make the cluster where there is none, with a password, and give it to the server's user."""
    if enters_by_working_directory() and Path(layout.folder).stat().st_uid != 0:
        os.chown(layout.folder, 0, 0)  # versions before 0.2 gave it to the server's user
        Path(layout.folder).chmod(0o700)
    if not Path(layout.data, "PG_VERSION").exists():
        _initialize(layout, binaries)
    if layout.read_password() is None:
        _set_password(layout, binaries)
    uid = server_uid(layout)
    for folder in {layout.data, layout.socket_folder} - {layout.folder}:
        if Path(folder).stat().st_uid != uid:
            _give(folder, uid)


def _give(folder: str, uid: int) -> None:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(f"{place}/{name}", uid, uid, follow_symlinks=False)
    os.chown(folder, uid, uid)  # last: as long as it is not done, all of it is done again


def _reachable(binaries: str) -> str:
    """Postgres's programs where the server's user can run them: in their place, or copied to one that all can enter."""
    folder = Path(binaries).parent
    if os.geteuid() != 0 or all(place.stat().st_mode & 0o001 for place in (Path(binaries), *Path(binaries).parents)):
        return binaries
    version = f"{folder}:{folder.stat().st_mtime_ns}"
    copy = Path(f"/tmp/vector_pipeline-postgres-{hashlib.sha256(version.encode()).hexdigest()[:16]}")
    with contextlib.suppress(FileExistsError):
        copy.mkdir(mode=0o755)
        copy.chmod(0o755)
    found = copy.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        sys.stderr.write(f"error: {copy}, where Postgres's programs were to be copied, is another user's: remove it\n")
        raise subprocess.CalledProcessError(1, "copy")
    if not (copy / "complete").exists():
        partial = copy / secrets.token_hex(8)
        shutil.copytree(folder, partial / "install", symlinks=True)
        for place, _, files in os.walk(partial):
            Path(place).chmod(0o755)
            for name in files:
                path = Path(place, name)
                if not path.is_symlink():
                    path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        (partial / "install").rename(copy / "install")
        (copy / "complete").touch()
    return str(copy / "install" / "bin")


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
        "port": str(PORT),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "max_wal_size": "2GB",
        "log_checkpoints": "off",
        "timezone": "UTC",
    }
    if _shared_memory() < ENOUGH_SHARED_MEMORY:
        settings["dynamic_shared_memory_type"] = "mmap"
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _shared_memory() -> int:
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return status.f_frsize * status.f_bavail


def server_uid(layout: Layout) -> int:
    """The id of the user that the server of a home runs as: this process's, unless that is root."""
    if os.geteuid() != 0:
        return os.geteuid()
    data = Path(layout.data)
    owner = data.stat().st_uid if data.exists() else 0
    return _unused_uid(layout) if owner in (0, _known_user()) else owner


def _unused_uid(layout: Layout) -> int:
    """An id that no account has, the same for the same home: no other process can be of that user."""
    import pwd

    start = int(hashlib.sha256(layout.home.encode()).hexdigest(), 16)
    for step in range(UIDS):
        uid = FIRST_UID + (start + step) % UIDS
        try:
            pwd.getpwuid(uid)
        except KeyError:
            break
    try:
        # A container may have no such ids.
        os.chown(layout.starting, uid, -1)
        os.chown(layout.starting, 0, -1)
    except OSError:
        return _known_user()
    return uid


def _known_user() -> int:
    """An account that is not root's: initdb asks for the name of its user."""
    import pwd

    if os.geteuid() != 0:
        return os.geteuid()
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return 65_534


def _initialize(layout: Layout, binaries: str) -> None:
    """Make a cluster beside its place and move it there: one that was interrupted half-way is never taken for one."""
    fresh = f"{layout.data}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    Path(fresh).mkdir(mode=0o700)
    os.chown(fresh, _known_user(), -1)
    # The builtin provider sorts and folds UTF-8 the same way on every machine, whatever locales it has.
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    place = HERE if enters_by_working_directory() else fresh
    _run(
        [f"{binaries}/initdb", "-D", place, "-U", "postgres", "--auth=trust", "--encoding=UTF8", *locale],
        fresh,
        _known_user(),
    )
    Path(fresh).rename(layout.data)


def _set_password(layout: Layout, binaries: str) -> None:
    """Give the superuser a password that only whoever may read the home knows, and let nobody in without it."""
    owner = Path(layout.data).stat().st_uid
    _remove_stale_pid(layout)
    password = secrets.token_hex(32)
    _run(
        [f"{binaries}/postgres", "--single", "-D", _place(layout), *_server_settings(), "postgres"],
        layout.data,
        owner,
        f"ALTER ROLE postgres PASSWORD '{_scram_verifier(password)}'\n",
    )
    rules = Path(layout.data, "pg_hba.conf")
    rules.write_text(
        "# Written by vector-pipeline: the password is in the file beside this folder.\nlocal all all scram-sha-256\n"
    )
    os.chown(rules, owner, -1)
    # Last, and whole or not at all: without the file all of this is done again.
    partial = Path(f"{layout.password}.new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(layout.password)


def _scram_verifier(password: str) -> str:
    """What Postgres keeps of a password (RFC 5803). It is random and long: more rounds would only cost time."""
    salt, rounds = secrets.token_bytes(16), 1
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${rounds}:{salt64}${stored64}:{server64}"


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
    Path(layout.socket_folder, f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)


def _is_this_server(pid: int, data: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        folder = os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115 (a path that need not be one for this process)
    except (OSError, IndexError):
        return _is_running_elsewhere(pid)
    return state != "Z" and (data.encode() in command or (folder == data and b"postgres" in command[0]))


def _is_running_elsewhere(pid: int) -> bool:
    """Where there is no /proc (macOS): whether `ps` knows the process as a postgres."""
    if Path("/proc/self").exists():
        return False
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "stat=,command="], capture_output=True, text=True, check=False)
    return "postgres" in shown.stdout and not shown.stdout.startswith("Z")


def _stop_after_last_user(layout: Layout, server: subprocess.Popen[bytes], unused: threading.Event) -> None:
    descriptor = os.open(layout.users, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
    sys.exit(main(*sys.argv[1:]))
