"""The home: it is created with access only for this user, and checked before anything in it is used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.redaction import HIDDEN
from vector_pipeline.settings import Settings, variable

# This file names the database that a home was used with. If the variable is forgotten later, no empty one is started.
USED_DATABASE = "used_database"

# The second line of that file. Versions before 0.2 did not write it, and may have written a part of a password.
_WITHOUT_PASSWORD = "No part of a password is in this file."

# This mark shows that the home was created on this machine: a copy or an unpacked archive has another inode.
MADE_HERE = "made_here"

# A home of a version before 0.2 has no such mark. It is judged by files that must have been written in their place.
_WRITTEN_HERE = ("postgres/data/PG_VERSION", "dagster/dagster.yaml")
_WRITTEN_WITHIN_SECONDS = 2.0


def prepare_home(settings: Settings) -> Path:
    """Create and check the home; returns its path. Raises ConfigurationError."""
    home = settings.home.absolute()
    _refuse_signs("home", home)
    _refuse_signs("dagster_home", settings.dagster_home or home)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_strangers(settings, home)
        if not os.access(home, os.W_OK | os.X_OK):
            raise PermissionError(13, "permission denied")
        _close_to_others(home)
        used = home / USED_DATABASE
        if used.exists():
            _hide_password(used)
        if settings.uses_embedded_server and used.exists():
            raise ConfigurationError(
                f"{variable('database_url')} is not set, but {home} was last used with "
                f"{used.read_text().splitlines()[0]}: set it, or choose another {variable('home')} for the embedded "
                "server"
            )
    except OSError as error:
        raise ConfigurationError(
            f"{home} cannot be written ({error.strerror}); give this user the right to, or set {variable('home')} "
            "to another folder"
        ) from error
    return home


def remember_database(home: Path, shown: str) -> None:
    """Write the database that a home is used with, in the form for messages."""
    path, text = home / USED_DATABASE, f"{shown}\n{_WITHOUT_PASSWORD}\n"
    if not path.exists() or path.read_text() != text:
        _write(path, text)


def _refuse_signs(setting: str, path: Path) -> None:
    """Raise ConfigurationError for a path with signs that break the URL of Dagster's SQLite files."""
    if "?" in str(path):
        raise ConfigurationError(
            f"{variable(setting)} is '{path}': Dagster cannot keep its files under a path with a question mark; choose "
            "another folder"
        )


def _refuse_strangers(settings: Settings, home: Path) -> None:
    """Raise ConfigurationError for a home that was delivered with the working directory.

    What is in a home is run: the embedded server's configuration, Dagster's. One that the settings name is meant.
    """
    mark, found = home / MADE_HERE, home.stat()
    made_here = f"{found.st_ino}\n"
    if mark.exists() and mark.read_text() == made_here:
        return
    is_meant = "home" in settings.model_fields_set
    if not is_meant and not (found.st_uid == os.geteuid() and _looks_made_here(home)):
        raise ConfigurationError(
            f"{home} was not made on this machine by this user, and what is in a home is run: remove it, or, if you "
            f"know where it comes from, set {variable('home')}={home}"
        )
    _write(mark, made_here)


def _looks_made_here(home: Path) -> bool:
    """Whether a home without a mark is empty or was written in its place.

    What is unpacked has the times of the folder that was packed, and what a version control system made may be read by
    others, as the data of a server never may.
    """
    found = next((home / name for name in _WRITTEN_HERE if (home / name).exists()), None)
    if found is None:
        return not any((home / name).exists() for name in ("postgres", "dagster"))
    status = found.stat()
    private = not stat.S_IMODE(found.parent.stat().st_mode) & 0o077 or found.parent.name != "data"
    return private and abs(status.st_ctime - status.st_mtime) < _WRITTEN_WITHIN_SECONDS


def _close_to_others(home: Path) -> None:
    found = home.stat()
    if found.st_uid == os.geteuid() and found.st_mode & 0o007:
        home.chmod(stat.S_IMODE(found.st_mode) & 0o770)


def _hide_password(used: Path) -> None:
    """Rewrite the file if an earlier version may have put a part of a password into it."""
    lines = used.read_text().splitlines()
    if _WITHOUT_PASSWORD in lines:
        return
    place = (lines or [""])[0].partition("://")[2]
    # Those versions cut the URL at its first / ? or #, which a password may hold: only what follows an @ is none.
    host = place.rpartition("@")[2] if "@" in place and not set("/?#") & set(place.rpartition("@")[0]) else ""
    _write(used, f"postgresql://{HIDDEN}{host and '@'}{host}\n{_WITHOUT_PASSWORD}\n")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
