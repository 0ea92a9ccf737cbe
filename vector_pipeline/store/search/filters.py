"""Filters of a search: files by path, a root, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from vector_pipeline.store.connection import Connection

# Up to this many chunks, reading each is faster than a filtered scan of an index, and it finds everything
# (measured at 20,000 rows with a filter of 2 %: 0.35 ms exactly, 24 ms by the HNSW index).
FEW = 5_000


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter. Without any limits all chunks pass."""

    source: str | None = None
    """A pattern for paths: `*` stands for any characters and `?` for one."""
    root: str | None = None
    """The folder or URL of the source."""
    where: Mapping[str, Any] | None = None
    """What a chunk's metadata must contain."""

    @property
    def limits(self) -> bool:
        """Whether it has any limit."""
        return self.source is not None or self.root is not None or bool(self.where)

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of `condition`."""
        found: dict[str, Any] = {}
        if self.source is not None:
            found["source"] = like_pattern(self.source)
        if self.root is not None:
            found["root"] = self.root
        if self.where:
            found["where"] = Jsonb(dict(self.where))
        return found

    @property
    def condition(self) -> sql.Composable:
        """The condition to add to WHERE in a query over `chunks c`; empty, or beginning with AND."""
        conditions: list[sql.Composable] = []
        # Through the manifest, which has one row for a file, while the table has one for each chunk.
        if self.source is not None:
            conditions.append(sql.SQL("path LIKE %(source)s"))
        if self.root is not None:
            conditions.append(sql.SQL("root = %(root)s"))
        if conditions:
            files = sql.SQL(" AND ").join(conditions)
            conditions = [sql.SQL("AND c.source_key IN (SELECT source_key FROM source_files WHERE {})").format(files)]
        if self.where:
            conditions.append(sql.SQL("AND c.metadata @> %(where)s"))
        return sql.SQL(" ").join(conditions)

    def few_texts(self, connection: Connection) -> list[bytes] | None:
        """The hashes of all texts that pass, if they have few chunks; None if they have many."""
        query = sql.SQL("SELECT pg_catalog.uuid_send(c.content_hash) FROM chunks c WHERE true {} LIMIT {}").format(
            self.condition, sql.Literal(FEW + 1)
        )
        rows = connection.execute(query, self.values).fetchall()
        return None if len(rows) > FEW else list({row[0] for row in rows})


def like_pattern(glob: str) -> str:
    """Convert a pattern with * and ? to one for LIKE."""
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("**", "*").replace("*", "%").replace("?", "_")
