"""What tables take on disk."""

from __future__ import annotations

from vector_pipeline.store.connection import Connection


def bytes_on_disk(connection: Connection, *relations: str) -> int:
    """Bytes of tables with their b-trees and TOAST, or of indexes; a relation that does not exist counts 0."""
    row = connection.execute(
        "SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(pg_catalog.to_regclass(pg_catalog.quote_ident(name)))) "
        "FROM pg_catalog.unnest(%s::text[]) AS name",
        (list(relations),),
    ).fetchone()
    return int(row[0] or 0) if row else 0
