"""Remove a root with its files from the table."""

from __future__ import annotations

from vector_pipeline.store import manifest, rows, scans
from vector_pipeline.store.connection import Database
from vector_pipeline.store.manifest import FileChange
from vector_pipeline.store.roots import forget_location, require_root

FILES_AT_ONCE = 1_000


def forget_root(database: Database, location: str) -> int:
    """Delete the rows of all files of a root and mark the files deleted; returns the number of files.

    It does not read the folder, which may no longer exist. Raises ConfigurationError if nothing was ingested from it.
    """
    with database.connect(role="forget") as connection, database.connect(role="forget listing") as reader:
        root = require_root(connection, location)
        paths = [file.path for file in manifest.known_files(reader, root) if file.status != "deleted"]
        for begin in range(0, len(paths), FILES_AT_ONCE):
            changes = [FileChange(path, 0, "", gone=True) for path in paths[begin : begin + FILES_AT_ONCE]]
            arrival = manifest.register_arrival(connection, root, "forget", changes)
            keys = [file.source_key for file in manifest.owned_files(connection, arrival)]
            rows.delete_sources(connection, arrival, keys)
            manifest.finish_attempt(connection, arrival)
        scans.forget_scan(connection, root)
        forget_location(connection, root)
        return len(paths)
