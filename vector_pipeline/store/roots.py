"""Where the files of a root are reached: a root that is called after a folder may be reached by a link to it."""

from __future__ import annotations

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.manifest import source_key


def note_location(connection: Connection, root: str, location: str) -> None:
    """Note the path by which a root is reached now."""
    connection.execute(
        "INSERT INTO roots (root_key, root, location) VALUES (%s, %s, %s) "
        "ON CONFLICT (root_key) DO UPDATE SET location = excluded.location WHERE roots.location <> excluded.location",
        (source_key(root, ""), root, location),
    )


def location_of(connection: Connection, root: str) -> str:
    """The path by which a root was reached last; the root itself where that was never noted."""
    row = connection.execute("SELECT location FROM roots WHERE root_key = %s", (source_key(root, ""),)).fetchone()
    return str(row[0]) if row else root


def root_reached_by(connection: Connection, location: str) -> str | None:
    """The root that was reached by a path last."""
    row = connection.execute("SELECT root FROM roots WHERE location = %s ORDER BY root", (location,)).fetchone()
    return str(row[0]) if row else None


def forget_location(connection: Connection, root: str) -> None:
    """Remove what is noted of a root."""
    connection.execute("DELETE FROM roots WHERE root_key = %s", (source_key(root, ""),))
