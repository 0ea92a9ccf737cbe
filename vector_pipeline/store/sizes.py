"""How many rows the table has, and what tables take on disk."""

from __future__ import annotations

from vector_pipeline.store.connection import Connection


def count_chunks(connection: Connection) -> int:
    """Number of rows that the view shows."""
    row = connection.execute("SELECT pg_catalog.count(*) FROM chunks").fetchone()
    return int(row[0]) if row else 0


# Tables above this many rows are not counted: what a run does may not grow with what there is.
COUNTED_UP_TO = 100_000


def about_how_many_chunks(connection: Connection) -> int:
    """Rows of the table: counted while they are few, else as Postgres estimated them at its last VACUUM or ANALYZE."""
    row = connection.execute(
        "SELECT reltuples::bigint FROM pg_catalog.pg_class WHERE oid = 'chunks'::regclass"
    ).fetchone()
    estimated = int(row[0]) if row else 0
    return estimated if estimated > COUNTED_UP_TO else count_chunks(connection)


def bytes_on_disk(connection: Connection, *relations: str) -> int:
    """Bytes of tables with their b-trees and TOAST, or of indexes; a relation that does not exist counts 0."""
    row = connection.execute(
        "SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(pg_catalog.to_regclass(pg_catalog.quote_ident(name)))) "
        "FROM pg_catalog.unnest(%s::text[]) AS name",
        (list(relations),),
    ).fetchone()
    return int(row[0] or 0) if row else 0
