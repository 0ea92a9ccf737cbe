"""Answers of the Batch API: a job that harvests them, and a sensor that requests its runs.

A run submits batches and does not wait, so no worker is blocked for a day. The sensor checks the state of the batches
every few minutes. When one has finished, a run of the job harvests it, and then the arrivals that waited for it run
again.
"""

from collections.abc import Mapping

import dagster as dg

from vector_pipeline.defs.assets.source_files import register_arrivals
from vector_pipeline.defs.failures import explained
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.runs import ACTIVE, TRIGGER
from vector_pipeline.defs.ticks import is_preview, looking, preview
from vector_pipeline.defs.work import pipeline_of
from vector_pipeline.errors import counted
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.store import manifest
from vector_pipeline.store.locks import in_progress

INTERVAL_SECONDS = 120

# The number of arrivals that one tick requests. The others follow after the next batch or at night.
RUNS_PER_TICK = 50


def build_batches_job(names: Names, resources: Mapping[str, object]) -> dg.JobDefinition:
    """The job `batches`: one op that fetches and stores answers.

    Its resources are bound here. If a job still lacks some, Dagster (1.13) builds its sensors again, which prints a
    warning about a beta parameter that is not set.
    """
    postgres = names.of("postgres")

    @dg.op(
        name=names.of("bring_in_batches"),
        required_resource_keys={postgres},
        description="Fetches the answers of finished batches and stores their vectors.",
    )
    def bring_in_batches(context: dg.OpExecutionContext) -> None:
        pipeline = pipeline_of(context, names)
        # This imports openai, which the definitions do not need.
        from vector_pipeline.stages.embeddings.batches import harvest

        with explained():
            found = harvest(pipeline, pipeline.client_config, log=context.log.info)
        context.log.info(
            f"{counted(found.finished, 'batch', 'batches')} harvested with {counted(found.inputs, 'text')}; "
            f"unfinished: {found.out:,}"
        )

    @dg.job(
        name=names.of("batches"),
        resource_defs={postgres: resources[postgres]},
        executor_def=dg.in_process_executor,
        description="Fetches the answers of the Batch API.",
        tags={"vector_pipeline": names.prefix or "default"},
    )
    def batches() -> None:
        bring_in_batches()

    return batches


def build_batches_sensor(
    opening: Opening, batches: dg.JobDefinition, ingest: "dg.UnresolvedAssetJobDefinition"
) -> dg.SensorDefinition:
    """`batches_sensor`: on by default if EMBEDDING_MODE is `batch`."""
    is_on = opening.settings.embedding_mode == "batch"

    @dg.sensor(
        name=opening.names.of("batches_sensor"),
        jobs=[batches, ingest],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=opening.options.sensor_status("batches_sensor", default=is_on),
        description="Requests runs that fetch the answers of the Batch API, then runs of the arrivals that waited.",
    )
    def batches_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with looking(opening, "batches sensor") as (pipeline, connection):
            if is_preview(context):
                return preview(connection)
            return _tick(context, opening.names, pipeline, batches.name)

    return batches_sensor


def _tick(
    context: dg.SensorEvaluationContext, names: Names, pipeline: Pipeline, job: str
) -> dg.SensorResult | dg.SkipReason:
    if pipeline.settings.uses_embedded_model:
        return dg.SkipReason("the embedded model answers at once and has no batches")
    from vector_pipeline.stages.embeddings.batches import outstanding

    state = outstanding(pipeline, pipeline.client_config)
    if state.ready:
        if context.instance.get_runs(dg.RunsFilter(job_name=job, statuses=ACTIVE), limit=1):
            return dg.SkipReason(f"batches finished: {state.ready:,}; a run is harvesting them")
        return dg.SensorResult([dg.RunRequest(job_name=job, tags={TRIGGER: "batches"})])
    if not state.last_finished or state.last_finished == context.cursor:
        return dg.SkipReason(f"unfinished batches: {state.batches:,}")
    with pipeline.database.connect(role="batches sensor") as connection:
        pending = manifest.pending_arrivals(connection)
        busy = in_progress(connection, pending)
    wanted = [arrival for arrival in pending if arrival not in busy][:RUNS_PER_TICK]
    register_arrivals(context.instance, names, wanted)
    # An arrival is requested once for each harvested batch. The texts that it still lacks are in another one.
    requests = [
        dg.RunRequest(
            job_name=names.of("ingest"),
            run_key=f"{arrival} after batches of {state.last_finished}",
            partition_key=arrival,
            tags={TRIGGER: "batches"},
        )
        for arrival in wanted
    ]
    return dg.SensorResult(requests, cursor=state.last_finished)
