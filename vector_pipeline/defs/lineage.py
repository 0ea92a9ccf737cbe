"""Which column of an asset comes from which column of the asset before it, from the source's files to the rows."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from vector_pipeline.defs.names import Names

# Asset to column to the columns that it is made of, each as 'asset.column'.
_MADE_OF: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "documents": {
        "source": ("source_files.path",),
        "document_id": ("source_files.path",),
    },
    "chunks": {
        "source": ("documents.source",),
        "document_id": ("documents.document_id",),
        "chunk_index": ("documents.text",),
        "start_char": ("documents.text",),
        "end_char": ("documents.text",),
        "text": ("documents.text",),
        "metadata": ("documents.metadata", "documents.text"),
        "token_count": ("documents.text",),
        # Of what is embedded: the context may name the file or its title.
        "content_hash": ("documents.text", "documents.source", "documents.metadata"),
    },
    "token_batches": {
        "content_hash": ("chunks.content_hash",),
        "text": ("chunks.text",),
        "token_count": ("chunks.token_count",),
    },
    "embeddings": {
        "content_hash": ("token_batches.content_hash",),
        "embedding": ("token_batches.text",),
    },
    "document_rows": {
        **{
            column: (f"chunks.{column}",)
            for column in (
                "source",
                "document_id",
                "chunk_index",
                "start_char",
                "end_char",
                "metadata",
                "token_count",
                "content_hash",
            )
        },
        "id": ("chunks.source", "chunks.document_id", "chunks.text"),
        "page_content": ("chunks.text",),
        "embedding": ("embeddings.embedding",),
    },
}


def column_lineage(names: Names, asset: str) -> dg.TableColumnLineage:
    """The lineage of an asset's columns."""
    return dg.TableColumnLineage(
        {column: [_column(names, source) for source in sources] for column, sources in _MADE_OF[asset].items()}
    )


def _column(names: Names, source: str) -> dg.TableColumnDep:
    asset, _, column = source.partition(".")
    return dg.TableColumnDep(asset_key=names.asset(asset), column_name=column)
