"""The path by which the files of a root are reached: a link may lead to the folder that the root is named after."""

from __future__ import annotations

from vector_pipeline.store.connection import Connection
from vector_pipeline.store.manifest import source_key


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
