"""The report of `status`: files by status, errors of files that are not loaded, scans, spaces and sizes."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.roots import gone
from vector_pipeline.store import manifest, scans, sizes
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.counts import CHUNKS, count_rows
from vector_pipeline.store.load_progress import LoadProgress, load_progress
from vector_pipeline.store.space import Space, count_missing, count_vectors, list_spaces


def read_status(pipeline: Pipeline, path: str | None = None) -> dict[str, Any]:
    """The state of the table, and of one file if a path is given."""
    with pipeline.database.connect(role="status", row_policies=True) as connection:
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
            "progress": _progress(load_progress(connection, counts)),
            "roots": manifest.known_roots(connection),
            "gone": gone(connection),
            "scans": _scans(connection),
            "rejected": _listed(connection, "rejected"),
            "pending": _listed(connection, "pending"),
            "rows": count_rows(connection, CHUNKS),
            "spaces": spaces_json(connection, count_retired=False),
        }
        found["sizes"] = on_disk = {
            "rows": sizes.bytes_on_disk(connection, "chunks", "chunk_sections"),
            "files": sizes.bytes_on_disk(connection, "source_files", "arrivals"),
            "vectors": sum(space["bytes"] for space in found["spaces"]),
            "indexes": sum(space["index_bytes"] for space in found["spaces"]),
        }
        found["bytes"] = sum(on_disk.values())
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


def _progress(found: LoadProgress | None) -> dict[str, Any] | None:
    if found is None:
        return None
    rate, left = found.files_per_minute, found.minutes_left
    return {
        "share": round(found.share, 4),
        "files_per_minute": None if rate is None else round(rate, 1),
        "minutes_left": None if left is None else round(left, 1),
        "usd_today": round(found.usd_today, 6),
        "line": str(found),
    }


def _scans(connection: Connection) -> list[dict[str, Any]]:
    """What the last scan of each root left out, with names."""
    return [
        {
            "root": found.root,
            "ended_at": found.ended_at.astimezone(UTC).isoformat(timespec="seconds"),
            "withheld": found.withheld,
            "waiting": found.waiting,
            "passed_over": found.passed_over,
            "left_out": [{"source": path, "reason": reason} for path, reason in found.names],
            "not_read": found.not_read,
        }
        for found in scans.last_scans(connection)
    ]


def _listed(connection: Connection, status: manifest.Status) -> list[dict[str, Any]]:
    return [
        {"root": state.root, "source": state.path, "error": state.error}
        for state in manifest.files_with_status(connection, status)
    ]


def spaces_json(connection: Connection, *, count_retired: bool = True) -> list[dict[str, Any]]:
    """The spaces as `space list` and `status` show them.

    Texts that a space misses are counted while it fills, which reads the whole table; the active one misses none, as
    each load proves. `count_retired` says whether those of retired spaces are worth it; else they are None.
    """
    listed = []
    for space in list_spaces(connection):
        landing = count_vectors(connection, space.landing)
        vectors = count_vectors(connection, space.embeddings) + landing
        index_bytes = sizes.bytes_on_disk(connection, space.index)
        listed.append(
            {
                "name": space.name,
                "model": space.model,
                "dimensions": space.dimensions,
                "document_prefix": space.document_prefix or space.document_parameter,
                "query_prefix": space.query_prefix or space.query_parameter,
                "active": space.state == "active",
                "state": space.state,
                "vectors": vectors,
                "missing": _missing(connection, space, count_retired),
                "landing": landing,
                "index_type": space.index_type,
                "recall": space.recall,
                "ef_search": space.ef_search,
                "bytes": sizes.bytes_on_disk(connection, space.embeddings, space.landing) - index_bytes,
                "index_bytes": index_bytes,
            }
        )
    return listed


def _missing(connection: Connection, space: Space, count_retired: bool) -> int | None:
    if space.state == "active":
        return 0
    return count_missing(connection, space) if space.state == "filling" or count_retired else None
