"""The context that the texts of this database have: what stands in front of chunks when they are embedded."""

from __future__ import annotations

from vector_pipeline.store.connection import Connection
from vector_pipeline.text.context import Context


def recorded_context(connection: Connection) -> Context | None:
    """The context that texts are embedded with; None before the first ones."""
    row = connection.execute("SELECT context FROM text_context").fetchone()
    return row[0] if row else None


def record_context(connection: Connection, context: Context) -> None:
    """Keep the context that texts are embedded with from now on."""
    connection.execute(
        "INSERT INTO text_context (context) VALUES (%s) ON CONFLICT (one) DO UPDATE SET context = excluded.context "
        "WHERE text_context.context <> excluded.context",
        (context,),
    )
