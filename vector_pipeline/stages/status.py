"""What `status` says: files by state, what is wrong with those that are not loaded, spaces, sizes."""

from __future__ import annotations

from typing import Any

from vector_pipeline.stages.pipeline import Pipeline
from vector_pipeline.store import manifest, spaces
from vector_pipeline.store.connection import Connection


def read_status(pipeline: Pipeline, path: str | None = None) -> dict[str, Any]:
    """The state of the table; with a path, of that file too."""
    with pipeline.database.connect(role="status") as connection:
        counts = manifest.count_files(connection)
        found: dict[str, Any] = {
            "database": pipeline.database.safe_url,
            "model": pipeline.model,
            "files": {
                "loaded": counts.loaded,
                "pending": counts.pending,
                "rejected": counts.rejected,
                "deleted": counts.deleted,
            },
            "roots": manifest.known_roots(connection),
            "rejected": _listed(connection, "rejected"),
            "pending": _listed(connection, "pending"),
            "rows": _count(connection, "SELECT count(*) FROM chunks"),
            "spaces": spaces_json(connection),
            "bytes": _count(
                connection,
                "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
                "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind = 'r' "
                "AND (c.relname LIKE 'embeddings\\_%%' OR c.relname IN ('chunks', 'source_files'))",
            ),
        }
        if path is not None:
            found["file"] = [
                {
                    "root": state.root,
                    "source": state.path,
                    "status": state.status,
                    "error": state.error,
                    "documents": state.documents,
                    "chunks": state.chunks,
                    "tokens": state.tokens,
                    "arrival": state.arrival,
                }
                for state in manifest.states_of(connection, path)
            ]
        return found


def _listed(connection: Connection, status: manifest.Status) -> list[dict[str, Any]]:
    return [
        {"root": state.root, "source": state.path, "error": state.error}
        for state in manifest.files_with_status(connection, status)
    ]


def _count(connection: Connection, query: str) -> int:
    row = connection.execute(query.replace("%%", "%")).fetchone()
    return int(row[0]) if row else 0


def spaces_json(connection: Connection) -> list[dict[str, Any]]:
    """The spaces as `space list` and `status` show them."""
    listed = []
    for space in spaces.list_spaces(connection):
        vectors = sum(spaces.count_vectors(connection, table) for table in (space.embeddings, space.landing))
        listed.append(
            {
                "name": space.name,
                "model": space.model,
                "dimensions": space.dimensions,
                "active": space.state == "active",
                "state": space.state,
                "vectors": vectors,
                "missing": spaces.count_missing(connection, space),
                "recall": space.recall,
            }
        )
    return listed
