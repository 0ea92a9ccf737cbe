"""Roots: which one a path names, and the path by which its files are reached. A link may lead to a root's folder."""

from __future__ import annotations

import os
from pathlib import Path

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.manifest import known_roots, source_key


def find_root(connection: Connection, location: str) -> str | None:
    """The root with files that a path or URL names, None if there is none.

    A path may be the root as it was given, a path that the root was reached by, or one whose links lead to it.
    """
    known = known_roots(connection)
    path = os.path.normpath(Path(location).expanduser().absolute())
    names = (location.rstrip("/"), path, root_reached_by(connection, path), os.path.realpath(path))
    return next((name for name in names if name in known), None)


def require_root(connection: Connection, location: str) -> str:
    """The root that a path or URL names. Raises ConfigurationError if nothing was ingested from it."""
    root = find_root(connection, location)
    if root is None:
        known = ", ".join(f"'{name}'" for name in known_roots(connection)) or "nothing"
        raise ConfigurationError(f"nothing was ingested from '{location}'; there is {known}")
    return root


def note_location(connection: Connection, root: str, location: str) -> None:
    """Store the path by which a root is reached now."""
    connection.execute(
        "INSERT INTO roots (root_key, root, location) VALUES (%s, %s, %s) "
        "ON CONFLICT (root_key) DO UPDATE SET location = excluded.location WHERE roots.location <> excluded.location",
        (source_key(root, ""), root, location),
    )


def location_of(connection: Connection, root: str) -> str:
    """The path by which a root was last reached; the root itself if none is stored."""
    row = connection.execute("SELECT location FROM roots WHERE root_key = %s", (source_key(root, ""),)).fetchone()
    return str(row[0]) if row else root


def root_reached_by(connection: Connection, location: str) -> str | None:
    """The root that was last reached by a path."""
    row = connection.execute("SELECT root FROM roots WHERE location = %s ORDER BY root", (location,)).fetchone()
    return str(row[0]) if row else None


def forget_location(connection: Connection, root: str) -> None:
    """Remove the entry of a root."""
    connection.execute("DELETE FROM roots WHERE root_key = %s", (source_key(root, ""),))
