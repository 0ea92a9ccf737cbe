"""`embeddings`: what the plan asks for, paid for and stored."""

import time

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.openai_resource import OpenAIResource
from vector_pipeline.defs.pictures import column_schema, outcome_table
from vector_pipeline.defs.resources import PostgresResource
from vector_pipeline.defs.runs import spend_until
from vector_pipeline.stages.embeddings.plan import EmbedResult, embed_plan
from vector_pipeline.stages.streams import PlannedText, from_reader

COLUMNS = {
    "content_hash": ("uuid", "BLAKE2b-128 of the text"),
    "embedding": ("vector", "its vector: vector up to 2,000 dimensions, halfvec up to 4,000"),
    "created_at": ("timestamptz", "when it was paid for"),
}

# How often a line of progress is written to the run's log.
LOG_SECONDS = 10.0


def build_embeddings(names: Names) -> dg.AssetsDefinition:
    """The asset `embeddings`."""
    postgres, openai = names.of("postgres"), names.of("openai")

    @dg.asset(
        name="embeddings",
        key_prefix=names.key_prefix,
        group_name=names.group,
        kinds={"openai", "pgvector"},
        partitions_def=names.arrivals,
        ins={"token_batches": dg.AssetIn(key=names.asset("token_batches"))},
        io_manager_key=names.of("stages"),
        required_resource_keys={postgres, openai},
        pool=names.of("embeddings"),
        metadata={"dagster/column_schema": column_schema(COLUMNS)},
        description=(
            "One row per distinct text: its vector, stored the moment the API answers. A run that is killed pays "
            "again only for the requests that were under way; what another run is sending is waited for."
        ),
    )
    def embeddings(context: dg.AssetExecutionContext, token_batches: pa.RecordBatchReader) -> dg.MaterializeResult[None]:
        database: PostgresResource = getattr(context.resources, postgres)
        api: OpenAIResource = getattr(context.resources, openai)
        database.hold(context, context.partition_key)
        told = time.monotonic()

        def progress(line: str) -> None:
            nonlocal told
            if time.monotonic() - told >= LOG_SECONDS:
                told = time.monotonic()
                context.log.info(line)

        with database.explained(context.partition_key):
            result = embed_plan(
                database.pipeline,
                from_reader(token_batches, PlannedText),
                api.client_config(),
                spend_until=spend_until(context.run.tags),
                log=context.log.info,
                progress=progress,
            )
        return dg.MaterializeResult(metadata=_metadata(result, database.pipeline.model))

    return embeddings


def _metadata(result: EmbedResult, model: str) -> dict[str, dg.MetadataValue]:
    usage = result.usage
    found: dict[str, dg.MetadataValue] = {
        "model": dg.MetadataValue.text(model),
        "requests": dg.MetadataValue.int(usage.requests),
        "texts": dg.MetadataValue.int(usage.inputs),
        "tokens": dg.MetadataValue.int(usage.tokens),
        # The keys under which dagster-openai counts, so that what plots one plots the other.
        "openai.calls": dg.MetadataValue.int(usage.requests),
        "openai.total_tokens": dg.MetadataValue.int(usage.tokens),
        "openai.prompt_tokens": dg.MetadataValue.int(usage.tokens),
        "retries": dg.MetadataValue.int(usage.retries),
        "seconds_waited_for_the_rate": dg.MetadataValue.float(round(usage.seconds_waited, 3)),
        "seconds": dg.MetadataValue.float(round(result.seconds, 3)),
        "dagster/row_count": dg.MetadataValue.int(result.stored),
        "texts_stored_meanwhile": dg.MetadataValue.int(result.stored_meanwhile),
    }
    if result.usd is not None:
        found["usd"] = dg.MetadataValue.float(result.usd)
    if result.rejected:
        found["rejected"] = outcome_table((text, "rejected", reason) for text, reason in result.rejected.items())
    if result.stopped:
        found["stopped"] = dg.MetadataValue.text(result.stopped)
    return found
