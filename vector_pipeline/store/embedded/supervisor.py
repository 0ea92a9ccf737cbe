"""Parent of the embedded Postgres: starts it, reaps it, and stops it after its last user has ended.

It runs as a script that imports only the standard library, so it is small and does not depend on its starter:

    python -I supervisor.py HOME BINARIES [NAME=VALUE ...]

The server's settings that depend on the machine are arguments (`memory.py`).

If this runs as root, the server runs under a user id that no account has, and can only use its own folder. It enters
the folder as its working directory, so no folder above needs permissions for others.
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
"""The server runs for this long after its last user has ended, so that consecutive commands share it."""

# The path of a Unix socket has at most 107 bytes on Linux, 103 on macOS (sockaddr_un).
MAX_SOCKET_PATH = 100

# A parallel build of an index needs more shared memory than the 64 MB a container's /dev/shm has by default.
ENOUGH_SHARED_MEMORY = 1 << 30

PORT = 5432

# User ids between those of people's accounts and those that systemd assigns.
# https://systemd.io/UIDS-GIDS/
FIRST_UID, UIDS = 40_000, 20_000

# This path reaches the working directory of a process without access to the folders above it.
HERE = "/proc/self/cwd"


class Layout:
    """The paths of the server's files under a home."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.folder = f"{home}/postgres"
        self.data = f"{self.folder}/data"
        self.log = f"{self.folder}/server.log"
        self.users = f"{self.folder}/users.lock"
        self.starting = f"{self.folder}/starting.lock"
        self.supervising = f"{self.folder}/supervising.lock"
        self.password = f"{self.folder}/password"
        # A server that runs as another user can make its socket only in its own folder.
        self.socket_folder = self.data if enters_by_working_directory() else self.folder
        # Only if the path is too long, since any user may make folders in /tmp.
        if len(f"{self.socket_folder}/.s.PGSQL.{PORT}".encode()) > MAX_SOCKET_PATH:
            self.socket_folder = f"/tmp/vector_pipeline-{hashlib.sha256(home.encode()).hexdigest()[:16]}"

    def read_password(self) -> str | None:
        """The superuser's password; None if none is set yet."""
        try:
            return Path(self.password).read_text().strip()
        except FileNotFoundError:
            return None


def enters_by_working_directory() -> bool:
    """Whether the server runs as another user, without permissions on the folders above its own."""
    return os.geteuid() == 0 and Path(HERE).exists()


def main(home: str, binaries: str, *settings: str) -> int:
    """Run the server until its last user has ended or the server ends; returns the server's exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(0o077)
    layout = Layout(home)
    supervising = _open_lock(layout.supervising)  # held until this process ends
    fcntl.flock(supervising, fcntl.LOCK_EX)
    if not _has_users(layout):
        return 0  # this process waited for another one, whose starter was killed, and its own has ended
    try:
        binaries = _reachable(binaries)
        _make(layout, binaries)
    except subprocess.CalledProcessError as error:
        return error.returncode  # initdb or postgres has written the reason to the log
    _remove_stale_pid(layout)
    server = _popen(
        [
            *(f"{binaries}/postgres", "-D", _place(layout), "-k", _socket_place(layout), *_server_settings()),
            *(part for setting in settings for part in ("-c", setting)),
        ],
        layout.data,
        server_uid(layout),
        # It has no controlling terminal and its own process group, so Ctrl-C at a user's terminal does not reach it.
        start_new_session=True,
        # If the supervisor is killed the server ends too: no other process would stop it.
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


def _open_lock(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _has_users(layout: Layout) -> bool:
    descriptor = _open_lock(layout.users)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _popen(command: list[str], folder: str, uid: int, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process as the server's user in a folder. It enters the folder before it changes to that user."""
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
    """Make the cluster with a password if there is none, and make the server's user its owner."""
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
    os.chown(folder, uid, uid)  # last: until this is done, the next start repeats all of it


def _reachable(binaries: str) -> str:
    """The folder of Postgres's programs that the server's user can run: the installed one, or a copy open to all."""
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
    """A function for the child that requests a "fast shutdown" signal at its parent's end; None if not on Linux."""
    if sys.platform != "linux":
        return None
    # Looked up here, since nothing may be imported between fork and exec. 1 is PR_SET_PDEATHSIG, see prctl(2).
    prctl, set_parent_death_signal = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(set_parent_death_signal, signal.SIGINT, 0, 0, 0)


def _server_settings() -> list[str]:
    settings = {
        "listen_addresses": "",  # only a Unix socket
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
    """The user id that the server of a home runs under: this process's, unless it is root."""
    if os.geteuid() != 0:
        return os.geteuid()
    data = Path(layout.data)
    owner = data.stat().st_uid if data.exists() else 0
    return _unused_uid(layout) if owner in (0, _known_user()) else owner


def _unused_uid(layout: Layout) -> int:
    """A user id that no account has, so no other process runs under it. A home always gets the same id."""
    import pwd

    start = int(hashlib.sha256(layout.home.encode()).hexdigest(), 16)
    for step in range(UIDS):
        uid = FIRST_UID + (start + step) % UIDS
        try:
            pwd.getpwuid(uid)
        except KeyError:
            break
    try:
        # A container may not have such ids.
        os.chown(layout.starting, uid, -1)
        os.chown(layout.starting, 0, -1)
    except OSError:
        return _known_user()
    return uid


def _known_user() -> int:
    """The id of an account other than root: initdb needs a user with a name."""
    import pwd

    if os.geteuid() != 0:
        return os.geteuid()
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return 65_534


def _initialize(layout: Layout, binaries: str) -> None:
    """Make a cluster in a folder beside the final one and rename it: an interruption leaves no half-made cluster."""
    fresh = f"{layout.data}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    Path(fresh).mkdir(mode=0o700)
    os.chown(fresh, _known_user(), -1)
    # The builtin provider sorts and folds UTF-8 the same way on every machine, regardless of its locales.
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    place = HERE if enters_by_working_directory() else fresh
    _run(
        [f"{binaries}/initdb", "-D", place, "-U", "postgres", "--auth=trust", "--encoding=UTF8", *locale],
        fresh,
        _known_user(),
    )
    Path(fresh).rename(layout.data)


def _set_password(layout: Layout, binaries: str) -> None:
    """Give the superuser a password, which only users who may read the home can know, and require it to connect."""
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
    # Written last and atomically: without the file the next start repeats all of this.
    partial = Path(f"{layout.password}.new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(layout.password)


def _scram_verifier(password: str) -> str:
    """The form in which Postgres stores a password (RFC 5803). One round is enough: the password is random and long."""
    salt, rounds = secrets.token_bytes(16), 1
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${rounds}:{salt64}${stored64}:{server64}"


def _remove_stale_pid(layout: Layout) -> None:
    """Remove a postmaster.pid if its process has ended, is a zombie, or is now another program.

    Postgres itself only checks that a process with that pid exists. After the restart of a container that is likely:
    pids are low numbers and are used again.
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
        time.sleep(0.1)  # it is shutting down
    Path(layout.socket_folder, f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)


def _is_this_server(pid: int, data: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        folder = os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115 (the path may not exist for this process)
    except (OSError, IndexError):
        return _is_running_elsewhere(pid)
    return state != "Z" and (data.encode() in command or (folder == data and b"postgres" in command[0]))


def _is_running_elsewhere(pid: int) -> bool:
    """Whether `ps` shows the process as a postgres; only used without /proc (macOS)."""
    if Path("/proc/self").exists():
        return False
    shown = subprocess.run(["ps", "-p", str(pid), "-o", "stat=,command="], capture_output=True, text=True, check=False)
    return "postgres" in shown.stdout and not shown.stdout.startswith("Z")


def _stop_after_last_user(layout: Layout, server: subprocess.Popen[bytes], unused: threading.Event) -> None:
    descriptor = _open_lock(layout.users)
    time.sleep(LINGER_SECONDS)  # by now the starter of this process holds the lock
    while True:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits without polling until no process holds it
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(LINGER_SECONDS)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        # The lock is held until this process ends: a new user waits for it and then starts a new server.
        unused.set()
        server.send_signal(signal.SIGINT)  # "fast shutdown": sessions are ended, everything is written
        server.wait()
        return


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
