"""`embeddings`: embed the texts of the plan and store their vectors."""

import time

import dagster as dg
import pyarrow as pa

from vector_pipeline.defs.assets.stage import stage_asset
from vector_pipeline.defs.openai_resource import OpenAIResource
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.pictures import outcome_table
from vector_pipeline.defs.runs import spend_until
from vector_pipeline.defs.work import work_on
from vector_pipeline.errors import PipelineError
from vector_pipeline.pipeline.model import model_name
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.embeddings.plan import EmbedResult, embed_plan
from vector_pipeline.stages.embeddings.waiting import Waiting
from vector_pipeline.stages.load import LoadResult, load_complete_files
from vector_pipeline.stages.streams import PlannedText, from_reader
from vector_pipeline.store.shared.pacing import why_no_answer

COLUMNS = {
    "content_hash": ("uuid", "BLAKE2b-128 of the text"),
    "embedding": ("vector", "its vector: vector up to 2,000 dimensions, halfvec up to 4,000"),
    "created_at": ("timestamptz", "when it was paid for"),
}

# How often a line of progress is written to the run's log.
LOG_SECONDS = 10.0


def build_embeddings(opening: Opening) -> dg.AssetsDefinition:
    """The asset `embeddings`."""
    openai = opening.names.of("openai")

    @stage_asset(
        opening,
        "embeddings",
        columns=COLUMNS,
        kinds={"openai", "pgvector"},
        reads="token_batches",
        needs=("postgres", "openai"),
        pool=opening.options.pool or opening.names.of("embeddings"),
        description=(
            "One row per distinct text: its vector, which is stored as soon as the API answers. After a kill only the "
            "requests that were under way are paid for again. If another run is sending a text, this run waits for it."
        ),
    )
    def embeddings(context: dg.AssetExecutionContext, token_batches: pa.RecordBatchReader) -> dg.MaterializeResult[None]:
        api: OpenAIResource = getattr(context.resources, openai)
        logged = time.monotonic()

        result, loaded = EmbedResult(), LoadResult()

        def done() -> dict[str, dg.MetadataValue]:
            return {**_metadata(result, model_name(opening.settings)), **_of_load(loaded)}

        with work_on(context, opening.names, done) as work, _waiting(work.pipeline, context) as waiting:

            def progress(line: str) -> None:
                nonlocal logged
                waiting.answered()
                if time.monotonic() - logged >= LOG_SECONDS:
                    logged = time.monotonic()
                    context.log.info(line)

            try:
                embed_plan(
                    work.pipeline,
                    from_reader(token_batches, PlannedText),
                    api.client_config(),
                    spend_until=spend_until(context.run.tags),
                    result=result,
                    log=context.log.info,
                    progress=progress,
                )
            except PipelineError:
                load_complete_files(work.pipeline, work.arrival, loaded, context.log.info)
                raise
            finally:
                # Count what was paid and loaded, also after an error.
                opening.finished(result)
                opening.finished(loaded)
        return dg.MaterializeResult(metadata=_metadata(result, work.pipeline.model))

    return embeddings


def _waiting(pipeline: Pipeline, context: dg.AssetExecutionContext) -> Waiting:
    """Writes to the run's log when no answer comes, and why."""
    bucket = pipeline.client_config.bucket
    return Waiting(context.log.info, lambda: why_no_answer(pipeline.database, bucket))


def _of_load(result: LoadResult) -> dict[str, dg.MetadataValue]:
    return {
        "files_loaded": dg.MetadataValue.int(result.loaded),
        "files_deleted": dg.MetadataValue.int(result.deleted),
        "rows_loaded": dg.MetadataValue.int(result.rows),
    }


def _metadata(result: EmbedResult, model: str) -> dict[str, dg.MetadataValue]:
    usage = result.usage
    found: dict[str, dg.MetadataValue] = {
        "model": dg.MetadataValue.text(model),
        "requests": dg.MetadataValue.int(usage.requests),
        "texts": dg.MetadataValue.int(usage.inputs),
        "tokens": dg.MetadataValue.int(usage.tokens),
        # The same keys as in dagster-openai, so the same plots work for both.
        "openai.calls": dg.MetadataValue.int(usage.requests),
        "openai.total_tokens": dg.MetadataValue.int(usage.tokens),
        "openai.prompt_tokens": dg.MetadataValue.int(usage.tokens),
        "retries": dg.MetadataValue.int(usage.retries),
        "rate_limited": dg.MetadataValue.int(usage.rate_limited),
        "seconds_waited_for_the_rate": dg.MetadataValue.float(round(usage.seconds_waited, 3)),
        "seconds": dg.MetadataValue.float(round(result.seconds, 3)),
        "dagster/partition_row_count": dg.MetadataValue.int(result.stored),
        "texts_stored_meanwhile": dg.MetadataValue.int(result.stored_meanwhile),
    }
    if result.usd is not None:
        found["usd"] = dg.MetadataValue.float(float(result.usd))
    if result.rejected:
        found["rejected"] = outcome_table((text, "rejected", reason) for text, reason in result.rejected.items())
    if result.stopped:
        found["stopped"] = dg.MetadataValue.text(result.stopped)
    return found
