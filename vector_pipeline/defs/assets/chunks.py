"""`chunks`: the chunks of an arrival's documents."""

import os
from collections.abc import Iterator
from itertools import chain

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.assets.stage import stage_asset
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.pictures import histogram
from vector_pipeline.defs.work import work_on
from vector_pipeline.stages.chunks import ChunksOutcome, chunk_rows, prefix_tokens, reject_empty
from vector_pipeline.stages.streams import CHUNKS, ChunkRow, DocumentRow, from_reader, to_reader
from vector_pipeline.store.columns import SHOWN

DESCRIBED = {column.name: column.description for column in SHOWN} | {"text": "document.text[start_char:end_char]"}

# The columns of a chunk itself. Those of its file are described at `documents`.
COLUMNS = {field.name: (str(field.type), DESCRIBED[field.name]) for field in CHUNKS if field.name in DESCRIBED}


def build_chunks(opening: Opening) -> dg.AssetsDefinition:
    """The asset `chunks`."""

    @stage_asset(
        opening,
        "chunks",
        columns=COLUMNS,
        kinds={"python", "parquet"},
        reads="documents",
        description="One row per chunk, with its exact token count, its offsets in the document and its hash.",
    )
    def chunks(context: dg.AssetExecutionContext, documents: pa.RecordBatchReader) -> pa.RecordBatchReader:
        def rows() -> Iterator[ChunkRow]:
            outcome = ChunksOutcome()
            read = from_reader(documents, DocumentRow)
            first = next(read, None)
            with work_on(context, opening.names) as work:
                pipeline = work.pipeline
                # If the arrival only deletes files, there is nothing to cut, and the tokenizer need not be loaded.
                if first is not None:
                    yield from chunk_rows(
                        chain((first,), read),
                        pipeline.tokenizer(),
                        pipeline.chunking,
                        outcome,
                        threads=os.cpu_count() or 1,
                        prefix_tokens=prefix_tokens(pipeline),
                    )
                reject_empty(pipeline.database, work.arrival, outcome)
            pipeline.advance("chunks", outcome.chunks)
            opening.finished(outcome)
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
