"""`document_rows`: chunks, loaded: the batched insert."""

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.pictures import column_schema, outcome_table
from vector_pipeline.defs.resources import PostgresResource
from vector_pipeline.stages.load import LoadResult, load_chunks
from vector_pipeline.stages.streams import ChunkRow, from_reader
from vector_pipeline.store import manifest
from vector_pipeline.store.columns import SHOWN

COLUMNS = {column.name: (column.type, column.description) for column in SHOWN}


def build_document_rows(names: Names) -> dg.AssetsDefinition:
    """The asset `document_rows`."""
    postgres = names.of("postgres")

    @dg.asset(
        name="document_rows",
        key_prefix=names.key_prefix,
        group_name=names.group,
        kinds={"postgres", "pgvector"},
        partitions_def=names.arrivals,
        ins={"chunks": dg.AssetIn(key=names.asset("chunks"))},
        deps=[names.asset("embeddings")],
        io_manager_key=names.of("stages"),
        required_resource_keys={postgres},
        metadata={
            "dagster/column_schema": column_schema(COLUMNS),
            "dagster/table_name": "document_chunks",
        },
        description=(
            "The arrival's chunks in the table, file by file: readers see a file's old rows or its new ones. "
            "Only files that the arrival still owns, and only those of which every text has its vector."
        ),
    )
    def document_rows(context: dg.AssetExecutionContext, chunks: pa.RecordBatchReader) -> dg.MaterializeResult[None]:
        database: PostgresResource = getattr(context.resources, postgres)
        arrival = context.partition_key
        database.hold(context, arrival)
        pipeline = database.pipeline
        with database.explained(arrival):
            result = load_chunks(
                pipeline.database,
                arrival,
                from_reader(chunks, ChunkRow),
                fingerprint_of=pipeline.fingerprints.of,
                rows_per_batch=pipeline.settings.rows_per_batch,
                progress=lambda files: pipeline.advance("files loaded", files),
            )
        with pipeline.database.connect(role="document rows") as connection:
            pending = manifest.finish_attempt(connection, arrival)
            if pending:
                manifest.fail_attempt(connection, arrival, next(iter(result.pending.values()), "files are pending"))
            states = manifest.files_with_status(
                connection, "pending", "rejected", "loaded", "deleted", arrival=arrival, limit=2_000
            )
        context.log.info(f"{result.loaded:,} files loaded, {result.rows:,} rows, {result.deleted:,} files deleted")
        return dg.MaterializeResult(metadata=_metadata(result, states, pending))

    return document_rows


def _metadata(result: LoadResult, states: list[manifest.FileState], pending: int) -> dict[str, dg.MetadataValue]:
    # What wants a person's eye comes first, since long tables are cut.
    order = {"rejected": 0, "pending": 1, "deleted": 2, "loaded": 3}
    outcomes = [
        (s.path, s.status, s.error or result.pending.get(s.path, ""))
        for s in sorted(states, key=lambda s: (order[s.status], s.path))
    ]
    return {
        "dagster/row_count": dg.MetadataValue.int(result.rows),
        "files_loaded": dg.MetadataValue.int(result.loaded),
        "files_deleted": dg.MetadataValue.int(result.deleted),
        "files_pending": dg.MetadataValue.int(pending),
        "files_rejected": dg.MetadataValue.int(sum(s.status == "rejected" for s in states)),
        "rows_deleted": dg.MetadataValue.int(result.deleted_rows),
        "rows_written": dg.MetadataValue.int(result.written),
        "files": outcome_table(outcomes),
    }
