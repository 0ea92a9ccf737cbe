"""`token_batches`: the plan of what has to be paid for."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.assets.stage import stage_asset
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.work import work_on
from vector_pipeline.embedding.models import usd
from vector_pipeline.pipeline.model import targets
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.streams import TOKEN_BATCHES, ChunkRow, PlannedText, from_reader, to_reader
from vector_pipeline.stages.token_batches import PlanOutcome, plan
from vector_pipeline.store.kept import repeated

COLUMNS = {
    "batch": ("int32", "number of the planned request"),
    "space": ("string", "the space of its vector"),
    "content_hash": ("binary(16)", "BLAKE2b-128 of the text"),
    "text": ("string", "the text to send, without the prefix that its model wants"),
    "token_count": ("int32", "its exact number of tokens, with the prefix"),
}


def build_token_batches(opening: Opening) -> dg.AssetsDefinition:
    """The asset `token_batches`."""

    @stage_asset(
        opening,
        "token_batches",
        columns=COLUMNS,
        kinds={"python", "parquet"},
        reads="chunks",
        description=(
            "One row per distinct text of the arrival that has no vector yet, packed into requests within all limits "
            "of the API. It is only a plan: embeddings checks again which vectors are missing before it sends anything."
        ),
    )
    def token_batches(context: dg.AssetExecutionContext, chunks: pa.RecordBatchReader) -> pa.RecordBatchReader:
        def rows() -> Iterator[PlannedText]:
            outcome = PlanOutcome()
            with work_on(context, opening.names) as work:
                pipeline = work.pipeline
                filled = repeated(
                    pipeline.database, "token batches", lambda connection: targets(connection, pipeline.settings)
                )
                yield from plan(
                    pipeline.database,
                    from_reader(chunks, ChunkRow),
                    filled,
                    pipeline.request_limits,
                    outcome,
                    pipeline.tokenizer,
                )
            opening.finished(outcome)
            context.add_asset_metadata(_metadata(outcome, pipeline))

        return to_reader(rows(), TOKEN_BATCHES)

    return token_batches


def _metadata(outcome: PlanOutcome, pipeline: Pipeline) -> dict[str, dg.MetadataValue]:
    price = usd(pipeline.model, outcome.tokens, usd_per_million_tokens=pipeline.settings.usd_per_million_tokens)
    return {
        "requests": dg.MetadataValue.int(outcome.requests),
        "texts": dg.MetadataValue.int(outcome.texts),
        "tokens": dg.MetadataValue.int(outcome.tokens),
        "chunks_reused": dg.MetadataValue.int(outcome.reused_chunks),
        "tokens_reused": dg.MetadataValue.int(outcome.reused_tokens),
        **({"usd_estimated": dg.MetadataValue.float(price)} if price is not None else {}),
    }
