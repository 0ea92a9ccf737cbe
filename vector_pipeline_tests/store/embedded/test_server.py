"""The embedded server: shared by processes, gone after the last of them, back after every kind of death."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from vector_pipeline.errors import ConfigurationError, DatabaseUnavailable
from vector_pipeline.store.connection import Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.embedded.supervisor import Layout

pytestmark = pytest.mark.slow

# Another process that holds the server until its stdin is closed or it is killed.
HOLDER = (
    "import sys; from pathlib import Path; from vector_pipeline.store.embedded.server import EmbeddedServer; "
    "s = EmbeddedServer.start(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read(); s.close()"
)


@pytest.fixture
def home() -> Iterator[Path]:
    # Not under pytest's own folder, whose long name would take the socket elsewhere.
    folder = Path(tempfile.mkdtemp(prefix="vp-"))
    yield folder
    _eventually(lambda: _postmaster(folder) is None)
    shutil.rmtree(folder, ignore_errors=True)


def _postmaster(home: Path) -> int | None:
    """The pid of the running server, None where there is none."""
    try:
        pid = int((home / "postgres/data/postmaster.pid").read_text().splitlines()[0])
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError, ValueError):
        return None
    return None if state == "Z" else pid


def _eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _hold(home: Path) -> subprocess.Popen[bytes]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def _end(holder: subprocess.Popen[bytes]) -> None:
    holder.communicate(timeout=20)


def _count(server: EmbeddedServer) -> int:
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def test_the_server_stops_after_its_last_user_and_keeps_the_data(home: Path) -> None:
    with EmbeddedServer.start(home) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1")
    _eventually(lambda: _postmaster(home) is None)
    with EmbeddedServer.start(home) as server:
        assert _count(server) == 1


def test_processes_share_one_server_and_a_killed_one_neither_stops_nor_keeps_it(home: Path) -> None:
    with EmbeddedServer.start(home):
        pid = _postmaster(home)
        assert pid is not None
        holder = _hold(home)
        assert _postmaster(home) == pid
        holder.kill()
        _end(holder)
        time.sleep(0.5)
        assert _postmaster(home) == pid
    _eventually(lambda: _postmaster(home) is None)


def test_the_server_outlives_the_process_that_started_it_while_it_is_in_use(home: Path) -> None:
    starter = _hold(home)
    with EmbeddedServer.start(home) as server:
        starter.kill()
        _end(starter)
        time.sleep(2.5)
        psycopg.connect(server.url).close()


def test_many_that_start_at_once_get_one_server(home: Path) -> None:
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for holder in holders:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
    for holder in holders:
        _end(holder)
        assert holder.returncode == 0


def test_a_starter_that_is_killed_while_the_cluster_is_made_does_not_harm_the_next(home: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", HOLDER, str(home)])
    _eventually(lambda: (home / "postgres/data.new/base/5/PG_VERSION").exists())
    starter.kill()
    starter.wait()
    assert not (home / "postgres/data").exists()
    with EmbeddedServer.start(home) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_killed_server_loses_nothing_committed_and_starts_again(home: Path) -> None:
    with EmbeddedServer.start(home) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1")
        pid = _postmaster(home)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        _eventually(lambda: _postmaster(home) is None)
        with EmbeddedServer.start(home) as again:
            assert _count(again) == 1


@pytest.mark.parametrize("whose", ["nobody's", "somebody else's"])
def test_a_stale_pid_file_does_not_block_the_start(home: Path, whose: str) -> None:
    with EmbeddedServer.start(home):
        kept = (home / "postgres/data/postmaster.pid").read_text()
    _eventually(lambda: _postmaster(home) is None)
    pid = os.getpid() if whose == "somebody else's" else 4_194_303
    (home / "postgres/data/postmaster.pid").write_text("\n".join([str(pid), *kept.splitlines()[1:], ""]))
    with EmbeddedServer.start(home) as server:
        psycopg.connect(server.url).close()


def test_the_starters_output_is_not_held_open(home: Path) -> None:
    """A caller that reads the starter's output to its end must not wait for the server's."""
    code = HOLDER.replace("sys.stdin.read(); s.close()", "import os; os._exit(0)")
    with EmbeddedServer.start(home):
        pass
    _eventually(lambda: _postmaster(home) is None)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, timeout=30, check=False)
    with EmbeddedServer.start(home):  # so that the server is known to be still there, or there again
        pass
    assert done.stdout == b"held\n"
    assert time.monotonic() - began < 25


def test_ctrl_c_at_the_starters_terminal_does_not_reach_the_server(home: Path) -> None:
    with EmbeddedServer.start(home):
        pid = _postmaster(home)
        assert pid is not None
        assert os.getsid(pid) != os.getsid(0)
        assert os.getpgid(pid) != os.getpgid(0)


def test_the_server_does_not_outlive_a_killed_supervisor(home: Path) -> None:
    with EmbeddedServer.start(home):
        pid = _postmaster(home)
        assert pid is not None
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(parent, signal.SIGKILL)
        _eventually(lambda: _postmaster(home) is None)
        with EmbeddedServer.start(home) as again:
            psycopg.connect(again.url).close()


def test_a_home_with_a_long_name(home: Path) -> None:
    deep = home / ("long " * 12) / ("name'\"" * 8)
    deep.mkdir(parents=True)
    socket_folder = Path(Layout(str(deep)).socket_folder)
    with EmbeddedServer.start(deep) as server:
        psycopg.connect(server.url).close()
        assert list(socket_folder.iterdir())
    _eventually(lambda: not socket_folder.exists())
    assert _postmaster(deep) is None


def test_a_folder_for_the_socket_that_somebody_else_made_is_refused(home: Path) -> None:
    deep = home / ("long " * 20)
    deep.mkdir()
    socket_folder = Path(Layout(str(deep)).socket_folder)
    socket_folder.symlink_to(home)
    try:
        with pytest.raises(ConfigurationError, match=r"belongs to another user: remove it"):
            EmbeddedServer.start(deep)
        socket_folder.unlink()
        if os.geteuid() == 0:
            socket_folder.mkdir()
            os.chown(socket_folder, 12_345, 12_345)
            with pytest.raises(ConfigurationError, match=r"belongs to another user: remove it"):
                EmbeddedServer.start(deep)
            socket_folder.rmdir()
    finally:
        socket_folder.unlink(missing_ok=True)
    assert not (deep / "postgres" / "data").exists()


def test_nobody_else_on_the_machine_may_connect(home: Path) -> None:
    with EmbeddedServer.start(home):
        folder = Path(Layout(str(home)).socket_folder)
        assert stat.S_IMODE((folder / ".s.PGSQL.5432").stat().st_mode) == 0o700


def test_a_home_that_cannot_be_written_is_one_clear_line(home: Path) -> None:
    (home / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be written.*VECTOR_PIPELINE_HOME"):
        EmbeddedServer.start(home / "file")


def test_a_server_that_does_not_start_says_why(home: Path) -> None:
    EmbeddedServer.start(home).close()
    _eventually(lambda: _postmaster(home) is None)
    with (home / "postgres/data/postgresql.conf").open("a") as config:
        config.write("no such setting\n")
    with pytest.raises(DatabaseUnavailable, match=r"does not start: FATAL: .*postgresql.conf"):
        EmbeddedServer.start(home)


def _refused_to(uid: int, attempt: Callable[[], object]) -> bool:
    """Whether the system does not let another user of the machine do something."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            attempt()
        except PermissionError:
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def test_nobody_gets_in_without_the_password(home: Path) -> None:
    layout = Layout(str(home))
    with EmbeddedServer.start(home) as server:
        assert server.url.count(Path(layout.password).read_text()) == 1
        assert stat.S_IMODE(Path(layout.password).stat().st_mode) == 0o600
        without = server.url.replace(f":{Path(layout.password).read_text()}@", "@")
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(without, passfile="/dev/null")


@as_root
def test_no_other_user_reaches_the_server_its_files_or_its_locks(home: Path) -> None:
    home.chmod(0o755)  # even so
    layout = Layout(str(home))
    socket_path = f"{layout.socket_folder}/.s.PGSQL.5432"
    with EmbeddedServer.start(home):
        owner = Path(layout.data).stat().st_uid
        with pytest.raises(KeyError):
            pwd.getpwuid(owner)  # a user that no account has
        nobody = pwd.getpwnam("nobody").pw_uid
        assert not _refused_to(0, lambda: socket.socket(socket.AF_UNIX).connect(socket_path))
        assert _refused_to(nobody, lambda: socket.socket(socket.AF_UNIX).connect(socket_path))
        for path in (layout.users, layout.starting, layout.password, layout.log):
            assert _refused_to(nobody, lambda path=path: Path(path).read_bytes())  # type: ignore[misc]


@as_root
def test_folders_above_a_home_stay_as_they_are(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    deep = closed / "home"
    deep.mkdir(mode=0o700)
    with EmbeddedServer.start(deep) as server:
        psycopg.connect(server.url).close()
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert stat.S_IMODE(deep.stat().st_mode) == 0o700
    _eventually(lambda: _postmaster(deep) is None)


@as_root
def test_a_server_of_an_earlier_version_is_taken_over(home: Path) -> None:
    """It let every process of `nobody` in, and its files were that user's."""
    layout = Layout(str(home))
    with EmbeddedServer.start(home) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1")
    _eventually(lambda: _postmaster(home) is None)
    nobody = pwd.getpwnam("nobody").pw_uid
    Path(layout.password).unlink()
    (Path(layout.data) / "pg_hba.conf").write_text("local all all trust\n")
    for place, folders, files in os.walk(layout.folder):
        for name in (".", *folders, *files):
            os.chown(f"{place}/{name}", nobody, nobody)
    with EmbeddedServer.start(home) as server:
        assert _count(server) == 1
        assert Path(layout.data).stat().st_uid not in (0, nobody)
        assert Path(layout.folder).stat().st_uid == 0


def test_variables_of_libpq_neither_steer_nor_stop_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGHOST": "nowhere.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGSERVICE": "reports",
        "PGTARGETSESSIONATTRS": "standby",
        "PGOPTIONS": "-c default_transaction_read_only=on",
        "PGUSER": "somebody",
        "PGDATABASE": "else",
        "PGTZ": "Nowhere/City",
    }.items():
        monkeypatch.setenv(name, value)
    with EmbeddedServer.start(home) as server, EmbeddedServer.start(home) as again:
        assert server.url == again.url
        with Database(server.url, embedded=True).connect() as connection:
            connection.execute("CREATE TABLE writable (x int)")
