"""Settings to Definitions: everything of one pipeline under its own names."""

from __future__ import annotations

import dagster as dg

from vector_pipeline.defs.assets.chunks import build_chunks
from vector_pipeline.defs.assets.document_rows import build_document_rows
from vector_pipeline.defs.assets.documents import build_documents
from vector_pipeline.defs.assets.embeddings import build_embeddings
from vector_pipeline.defs.assets.source_files import build_source_files
from vector_pipeline.defs.assets.token_batches import build_token_batches
from vector_pipeline.defs.assets.vector_index import build_vector_index
from vector_pipeline.defs.batches import build_batches_job, build_batches_sensor
from vector_pipeline.defs.checks import build_checks
from vector_pipeline.defs.io_manager import ParquetStages
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.openai_resource import openai_resource
from vector_pipeline.defs.resources import postgres_resource, source_resource
from vector_pipeline.defs.schedules import build_backfill_schedule, build_backfill_sensor, build_scan_schedule
from vector_pipeline.defs.sensors import build_index_automation, build_source_files_sensor
from vector_pipeline.pipeline.pipeline import Pipeline, stage_base
from vector_pipeline.settings import Settings


def build_definitions(settings: Settings | None = None, *, opened: Pipeline | None = None) -> dg.Definitions:
    """The Definitions of a pipeline: seven assets, the jobs `scan` and `ingest`, sensors, a schedule, checks, resources.

    Without settings they are read from the environment. With a NAME all names carry it as a prefix, so that the
    Definitions of several pipelines can be merged into one code location. `opened` is a pipeline that the caller
    holds open, which runs in this process then use instead of opening it each for itself.
    """
    settings = settings or Settings.from_environment()
    names = Names(settings.name)
    vector_index = build_vector_index(names)
    arrival_assets = [
        build_documents(names),
        build_chunks(names),
        build_token_batches(names),
        build_embeddings(names),
        build_document_rows(names),
    ]
    ingest = dg.define_asset_job(
        names.of("ingest"),
        selection=dg.AssetSelection.assets(*arrival_assets),
        description="Read, cut, embed and load the files of one arrival.",
        tags={"vector_pipeline": settings.name or "default"},
    )
    source_files = build_source_files(names)
    scanning = dg.define_asset_job(
        names.of("scan"),
        selection=dg.AssetSelection.assets(source_files),
        description="List the source and register what is new, changed or deleted as arrivals.",
        tags={"vector_pipeline": settings.name or "default"},
    )
    index = dg.define_asset_job(
        names.of("index"),
        selection=dg.AssetSelection.assets(vector_index),
        description="Bring landed vectors under the index, measure it, and tidy up.",
    )
    resources = {
        names.of("postgres"): postgres_resource(settings, opened),
        names.of("source"): source_resource(settings),
        names.of("openai"): openai_resource(settings),
        names.of("stages"): ParquetStages(base=stage_base(settings)),
    }
    batches = build_batches_job(names, resources)
    return dg.Definitions(
        assets=[source_files, *arrival_assets, vector_index],
        asset_checks=build_checks(names),
        jobs=[scanning, ingest, index, batches],
        sensors=[
            build_source_files_sensor(names, settings, scanning, ingest, opened),
            build_index_automation(names, vector_index),
            build_batches_sensor(names, settings, batches, ingest, opened),
            build_backfill_sensor(names, settings, scanning, ingest, opened),
        ],
        schedules=[
            build_backfill_schedule(names, settings, ingest, opened),
            build_scan_schedule(names, settings, scanning, opened),
        ],
        resources=resources,
        # On Definitions and not only on the job: a backfill from the UI runs assets without the job, and a process
        # per step would take ten times as long as the step.
        executor=dg.in_process_executor,
    )
