"""`chunks`: documents, cut."""

import os
from collections.abc import Iterator
from itertools import chain

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.pictures import column_schema, histogram
from vector_pipeline.defs.resources import PostgresResource
from vector_pipeline.stages.chunks import ChunksOutcome, chunk_rows, reject_empty
from vector_pipeline.stages.streams import CHUNKS, ChunkRow, DocumentRow, from_reader, to_reader
from vector_pipeline.store.columns import SHOWN

DESCRIBED = {column.name: column.description for column in SHOWN} | {"text": "document.text[start_char:end_char]"}

# The file's identity travels along, and is told by the stage before.
COLUMNS = {field.name: (str(field.type), DESCRIBED[field.name]) for field in CHUNKS if field.name in DESCRIBED}


def build_chunks(names: Names) -> dg.AssetsDefinition:
    """The asset `chunks`."""
    postgres = names.of("postgres")

    @dg.asset(
        name="chunks",
        key_prefix=names.key_prefix,
        group_name=names.group,
        kinds={"python", "parquet"},
        partitions_def=names.arrivals,
        ins={"documents": dg.AssetIn(key=names.asset("documents"))},
        io_manager_key=names.of("stages"),
        required_resource_keys={postgres},
        metadata={"dagster/column_schema": column_schema(COLUMNS)},
        description="One row per chunk, with its exact token count, its offsets in the document and its hash.",
    )
    def chunks(context: dg.AssetExecutionContext, documents: pa.RecordBatchReader) -> pa.RecordBatchReader:
        database: PostgresResource = getattr(context.resources, postgres)
        arrival = context.partition_key
        database.hold(context, arrival)
        pipeline = database.pipeline

        def rows() -> Iterator[ChunkRow]:
            outcome = ChunksOutcome()
            read = from_reader(documents, DocumentRow)
            first = next(read, None)
            with database.explained(arrival):
                # Where files were only deleted there is nothing to cut, and the tokenizer need not be loaded.
                if first is not None:
                    yield from chunk_rows(
                        chain((first,), read),
                        pipeline.tokenizer(),
                        pipeline.chunking,
                        outcome,
                        threads=os.cpu_count() or 1,
                    )
                reject_empty(pipeline.database, arrival, outcome)
            pipeline.advance("chunks", outcome.chunks)
            context.add_asset_metadata(_metadata(outcome))

        return to_reader(rows(), CHUNKS)

    return chunks


def _metadata(outcome: ChunksOutcome) -> dict[str, dg.MetadataValue]:
    return {
        "documents": dg.MetadataValue.int(outcome.documents),
        "chunks": dg.MetadataValue.int(outcome.chunks),
        "tokens": dg.MetadataValue.int(outcome.tokens),
        "files_rejected": dg.MetadataValue.int(len(outcome.empty)),
        "chunk_lengths": histogram(outcome.lengths, "tokens"),
    }
