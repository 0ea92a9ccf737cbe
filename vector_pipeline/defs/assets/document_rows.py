"""`document_rows`: load the chunks of an arrival into the table (the batched insert)."""

from dataclasses import dataclass

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.assets.stage import stage_asset
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.pictures import outcome_table
from vector_pipeline.defs.work import Work, work_on
from vector_pipeline.errors import counted
from vector_pipeline.stages.load import LoadResult, load_arrival
from vector_pipeline.stages.streams import ChunkRow, from_reader
from vector_pipeline.store import manifest
from vector_pipeline.store.columns import SHOWN
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.counts import CHUNKS, count_rows
from vector_pipeline.store.failed_arrivals import fail_attempt
from vector_pipeline.store.kept import repeated
from vector_pipeline.store.load_progress import LoadProgress, load_progress

COLUMNS = {column.name: (column.type, column.description) for column in SHOWN}


def build_document_rows(opening: Opening) -> dg.AssetsDefinition:
    """The asset `document_rows`."""

    @stage_asset(
        opening,
        "document_rows",
        columns=COLUMNS,
        kinds={"postgres", "pgvector"},
        reads="chunks",
        after=["embeddings"],
        metadata={"dagster/table_name": f"{opening.settings.db_schema}.document_chunks"},
        description=(
            "The arrival's chunks in the table, file by file: a reader sees the old rows of a file or the new ones. "
            "A file is loaded only if the arrival still owns it and each of its texts has a vector."
        ),
    )
    def document_rows(context: dg.AssetExecutionContext, chunks: pa.RecordBatchReader) -> dg.MaterializeResult[None]:
        with work_on(context, opening.names) as work:
            result = load_arrival(work.pipeline, work.arrival, from_reader(chunks, ChunkRow))
            closed = _close(work, result)
        opening.finished(result)
        context.log.info(
            f"{counted(result.loaded, 'file')} loaded, {counted(result.rows, 'row')}, {result.deleted:,} deleted"
        )
        if closed.progress is not None:
            context.log.info(f"in all {closed.progress}")
        return dg.MaterializeResult(metadata=_metadata(result, closed))

    return document_rows


@dataclass(frozen=True, slots=True)
class _Closed:
    """The state after the load of an arrival."""

    pending: int
    """The number of the arrival's files that are still pending."""
    rows: int
    """The number of rows in the table."""
    states: list[manifest.FileState]
    """Those of the arrival's files."""
    progress: LoadProgress | None
    """How far the load of all arrivals is."""


def _close(work: Work, result: LoadResult) -> _Closed:
    """Close the arrival, or record why files are still pending."""

    def close(connection: Connection) -> _Closed:
        manifest.note_rejections(connection, work.arrival, work.pipeline.fingerprints.rejecting)
        pending = manifest.finish_attempt(connection, work.arrival)
        if pending:
            reason = next(iter(result.pending.values()), "files are pending")
            fail_attempt(connection, work.arrival, reason)
        states = manifest.files_with_status(
            connection, "pending", "rejected", "loaded", "deleted", arrival=work.arrival, limit=2_000
        )
        return _Closed(pending, count_rows(connection, CHUNKS), states, load_progress(connection))

    return repeated(work.pipeline.database, "document rows", close)


def _metadata(result: LoadResult, closed: _Closed) -> dict[str, dg.MetadataValue]:
    # Files that need attention come first, because long tables are cut.
    order = {"rejected": 0, "pending": 1, "deleted": 2, "loaded": 3}
    outcomes = [
        (s.path, s.status, s.error or result.pending.get(s.path, ""))
        for s in sorted(closed.states, key=lambda s: (order[s.status], s.path))
    ]
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(result.rows),
        "dagster/row_count": dg.MetadataValue.int(closed.rows),
        "files_loaded": dg.MetadataValue.int(result.loaded),
        "files_deleted": dg.MetadataValue.int(result.deleted),
        "files_pending": dg.MetadataValue.int(closed.pending),
        "files_rejected": dg.MetadataValue.int(sum(s.status == "rejected" for s in closed.states)),
        "rows_deleted": dg.MetadataValue.int(result.deleted_rows),
        "rows_written": dg.MetadataValue.int(result.written),
        "files": outcome_table(outcomes),
    }
