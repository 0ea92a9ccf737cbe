"""Whatever goes wrong is one line, exit 2, and nothing of a secret."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.exc import OperationalError

from vector_pipeline.cli.failures import line_of
from vector_pipeline.store.connection import Database
from vector_pipeline_tests.support.addresses import as_role

COMMAND = (sys.executable, "-m", "vector_pipeline.cli")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECTOR_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:hidden-1@db.example:5432/texts")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hidden-2")
    return tmp_path


def _raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:  # noqa: BLE001
        return caught


def test_an_error_that_nobody_expected_is_a_line_and_its_traceback_a_file(home: Path) -> None:
    line = line_of(_raised(KeyError("sk-hidden-2 at https://me:hidden-3@h/x")))
    assert line.startswith("unexpected error, KeyError: ")
    assert "\n" not in line
    (kept,) = (home / "errors").iterdir()
    assert line.endswith(f"its traceback is in {kept}")
    text = kept.read_text()
    assert "Traceback (most recent call last)" in text
    assert "hidden-" not in text + line
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_full_disk_is_named_by_the_folder_that_dagster_uses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
    assert f"Dagster's files under {home / 'dagster'} cannot" in line_of(_raised(full))
    monkeypatch.setenv("DAGSTER_HOME", "/elsewhere/dagster")
    assert "Dagster's files under /elsewhere/dagster cannot" in line_of(_raised(full))
    assert "DAGSTER_HOME" in line_of(_raised(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/y"), "/x/y: No space left on device; make room there"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "/x"), "/x: Permission denied; give this user the right to"),
        (sqlite3.OperationalError("database or disk is full"), "cannot be used (database or disk is full)"),
        (
            OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full")),
            "cannot be used (database or disk is full)",
        ),
        (MemoryError(), "not enough memory"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), "holds bytes that are not UTF-8"),
        (psycopg.errors.DiskFull("could not extend file"), "could not extend file; the server has no room left"),
    ],
)
def test_what_can_be_said_is_said(home: Path, error: BaseException, said: str) -> None:
    for raised in (_raised(error), _raised(RuntimeError("on the way"), error)):
        assert said in line_of(raised)
    assert not (home / "errors").exists()


def _call(url: str, home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "DATABASE_URL": url, "VECTOR_PIPELINE_HOME": str(home), **variables}
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, timeout=120, check=False)


def _line(done: subprocess.CompletedProcess[bytes]) -> str:
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_what_postgres_refuses_is_a_line(database: Database, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("The library opens at nine.")
    source = str(tmp_path / "corpus")
    with psycopg.connect(database.url, autocommit=True) as admin:
        role, name = sql.Identifier(f"reader_{admin.info.dbname[-12:]}"), sql.Identifier(admin.info.dbname)
        admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        assert "only reads: name the primary" in _line(_call(database.url, tmp_path / "home", "ingest", source))
        admin.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'reader-1'").format(role))
        admin.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(role))
        reader = as_role(database.url, f"reader_{admin.info.dbname[-12:]}", "reader-1")
        try:
            assert "permission denied for table" in _line(_call(reader, tmp_path / "home", "ingest", source))
            admin.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = '1ms'").format(role))
            # What it may read it goes on reading, whatever limits its statements have.
            found = _call(reader, tmp_path / "home", "search", "library")
            assert (found.returncode, found.stderr) == (2, b"") or b"nothing was ever embedded" in found.stderr
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
            admin.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://app:very/secret@127.0.0.1:9/x", "write @ as %40"),
        ("postgresql://app:very@secret@127.0.0.1:9/x", "write @ as %40"),
        ("postgresql://app:very?secret@127.0.0.1:9/x", "postgresql://app@127.0.0.1:9/x does not answer"),
        ("postgresql://app:very#secret@127.0.0.1:9/x", "postgresql://app@127.0.0.1:9/x does not answer"),
        ("host=127.0.0.1 port=9 user=app password=verysecret dbname=x", "postgresql://app@127.0.0.1:9/x does not"),
        ("postgresql://app:verysecret@127.0.0.1:9/x?pgbouncer=true", "the parameter 'pgbouncer'"),
        ("postgresql://app:verysecret@127.0.0.1:9/x?schema=public", "the parameter 'schema'"),
    ],
)
def test_a_url_that_does_not_work_is_explained_without_its_password(tmp_path: Path, url: str, said: str) -> None:
    line = _line(_call(url, tmp_path / "home", "status"))
    assert said in line
    assert "very" not in line
    assert "secret" not in line


def test_what_a_terminal_cannot_show_is_shown_by_its_number(database: Database, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "제목.txt").write_text("도서관은 아홉 시에 엽니다.")
    done = _call(database.url, tmp_path / "home", "ingest", str(tmp_path / "corpus"), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    found = _call(database.url, tmp_path / "home", "search", "도서관", PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert b"\\ub3c4\\uc11c\\uad00" in found.stdout
    assert "holds bytes that are not UTF-8" in _line(_call(database.url, tmp_path / "home", "search", "\udcff\udcfe"))
