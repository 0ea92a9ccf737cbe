"""Any error as one line for the person at the terminal. The traceback of an unexpected error goes to a file."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from vector_pipeline.errors import ConfigurationError, PipelineError, one_line
from vector_pipeline.local.instance import unusable_files
from vector_pipeline.redaction import hide
from vector_pipeline.settings import Settings
from vector_pipeline.store.failures import PostgresError, explain
from vector_pipeline.store.libpq import secrets, shown

# Advice for errors of the operating system.
_ADVICE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or ask for more of it",
    errno.EROFS: "it is on a file system that is only read: choose another place",
    errno.EACCES: "give this user the right to",
    errno.EPERM: "give this user the right to",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "the machine has too many files open",
    errno.EIO: "the disk reports an error: look into the system's log",
    errno.ENOMEM: "the machine has too little memory free",
}


# Where to look if the error names no file.
_FOLDERS = "one of VECTOR_PIPELINE_HOME, DAGSTER_HOME, VECTOR_PIPELINE_STORAGE and the temporary folder (TMPDIR): "
_OF_A_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def line_of(error: BaseException) -> str:
    """One line for an error, with what to do. The error may come from Postgres, SQLite, the file system or anything."""
    for cause in _causes(error):
        if isinstance(cause, PipelineError):
            return str(cause)
        if isinstance(cause, PostgresError):
            url = _settings_url()
            return str(explain(cause, shown(url) if url else "this machine", secrets(url) if url else ()))
        if isinstance(cause, sqlite3.Error):
            return unusable_files(_dagster_home(), cause)
        if isinstance(cause, OSError) and cause.errno in _ADVICE:
            unnamed = _FOLDERS if cause.errno in _OF_A_DISK else ""
            place = f"{cause.filename}: " if cause.filename else unnamed
            return f"{place}{cause.strerror}; {_ADVICE[cause.errno]}"
        if isinstance(cause, MemoryError):
            return "there is not enough memory; make some free, or lower VECTOR_PIPELINE_MAX_BYTES_PER_ARRIVAL"
        if isinstance(cause, UnicodeEncodeError) and cause.reason == "surrogates not allowed":
            return f"{cause.object[:80]!r} holds bytes that are not UTF-8; write it in UTF-8"
    kept = _keep_traceback(error)
    return f"unexpected error, {type(error).__name__}: {hide(one_line(error), _secrets())}; its traceback is in {kept}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, the deepest last. SQLAlchemy keeps the cause in `orig`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        original = getattr(error, "orig", None)
        error = original if isinstance(original, BaseException) else error.__cause__ or error.__context__


def _keep_traceback(error: BaseException) -> Path:
    text = hide("".join(traceback.format_exception(error)), _secrets())
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.txt"
    for folder in (_home() / "errors", Path(tempfile.gettempdir())):
        path = folder / (name if folder.name == "errors" else f"vector-pipeline-{name}")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            continue
        return path
    return Path("(nowhere: neither the home nor the temporary folder can be written)")


def _settings() -> Settings | None:
    try:
        return Settings.from_environment()
    except ConfigurationError:
        return None


def _home() -> Path:
    settings = _settings()
    return settings.home.absolute() if settings else Path(tempfile.gettempdir())


def _dagster_home() -> Path:
    settings = _settings()
    return (settings.dagster_home if settings and settings.dagster_home else _home() / "dagster").absolute()


def _settings_url() -> str:
    settings = _settings()
    return settings.database_url.get_secret_value() if settings and settings.database_url else ""


def _secrets() -> list[str]:
    settings = _settings()
    key = settings.openai_api_key.get_secret_value() if settings and settings.openai_api_key else ""
    url = _settings_url()
    return [key, *(secrets(url) if url else [])]
