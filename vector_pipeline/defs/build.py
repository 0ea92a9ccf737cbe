"""Build the Definitions of one pipeline from its settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg

from vector_pipeline.defs.assets.chunks import build_chunks
from vector_pipeline.defs.assets.document_rows import build_document_rows
from vector_pipeline.defs.assets.documents import build_documents
from vector_pipeline.defs.assets.embeddings import build_embeddings
from vector_pipeline.defs.assets.retrieval_quality import build_retrieval_quality
from vector_pipeline.defs.assets.source_files import build_source_files
from vector_pipeline.defs.assets.token_batches import build_token_batches
from vector_pipeline.defs.assets.vector_index import build_vector_index
from vector_pipeline.defs.batches import build_batches_job, build_batches_sensor
from vector_pipeline.defs.checks import build_checks
from vector_pipeline.defs.io_manager import ParquetStages
from vector_pipeline.defs.openai_resource import openai_resource
from vector_pipeline.defs.opening import ALONE, ORDINARY, Opening, StageOutcome, TickLimits
from vector_pipeline.defs.options import DagsterOptions
from vector_pipeline.defs.resources import postgres_resource, source_resource
from vector_pipeline.defs.schedules import build_backfill_schedule, build_backfill_sensor, build_scan_schedule
from vector_pipeline.defs.sensors import build_index_automation, build_source_files_sensor
from vector_pipeline.pipeline.pipeline import Pipeline, stage_base
from vector_pipeline.settings import Settings


def build_definitions(
    settings: Settings | None = None,
    *,
    opened: Pipeline | None = None,
    options: DagsterOptions = ALONE,
    ticks: TickLimits = ORDINARY,
    finished: Callable[[StageOutcome], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> dg.Definitions:
    """The Definitions of one pipeline: seven assets, five checks, four jobs, four sensors, two schedules, resources.

    The default of `settings` is the environment. A NAME is a prefix of all names, so the Definitions can be merged into
    a code location with others. They set no executor and no logger there. `options` is what that location decides about
    them. `opened` is a pipeline that the caller holds open: runs in this process use it and do not open their own.
    `finished` receives the outcome of each of their stages, and `say` a line about work that takes long. `ticks` limits
    the work of one tick.
    Raises ConfigurationError for invalid settings.
    """
    opening = Opening(settings or Settings.from_environment(), opened, ticks, options)
    if finished is not None:
        opening = replace(opening, finished=finished)
    if say is not None:
        opening = replace(opening, say=say)
    return _definitions(opening)


def _definitions(opening: Opening) -> dg.Definitions:
    names = opening.names
    source_files, vector_index = build_source_files(opening), build_vector_index(opening)
    measured = [build_retrieval_quality(opening)] if names.golden_set else []
    stages = [
        build_documents(opening),
        build_chunks(opening),
        build_token_batches(opening),
        build_embeddings(opening),
        build_document_rows(opening),
    ]
    assets = dg.AssetSelection.assets
    scanning = _job(
        opening,
        "scan",
        assets(source_files).without_checks(),
        "List the source and register what is new, changed or deleted.",
    )
    ingest = _job(
        opening, "ingest", assets(*stages).without_checks(), "Read, cut, embed and load the files of one arrival."
    )
    # The checks look at all there is: once after a burst of loads, and not after each arrival.
    index = _job(
        opening,
        "index",
        assets(vector_index) | dg.AssetSelection.checks(*names.checks_of_index),
        "Move landed vectors under the index, measure it, tidy up, and make the checks.",
    )
    resources = _resources(opening)
    batches = build_batches_job(names, resources)
    return dg.Definitions(
        assets=_with_code_references([source_files, *stages, vector_index, *measured]),
        asset_checks=build_checks(opening),
        jobs=[scanning, ingest, index, batches],
        sensors=[
            build_source_files_sensor(opening, scanning, ingest),
            build_index_automation(opening, source_files, vector_index, *measured),
            build_batches_sensor(opening, batches, ingest),
            build_backfill_sensor(opening, scanning, ingest),
        ],
        schedules=[build_backfill_schedule(opening, ingest), build_scan_schedule(opening, scanning)],
        resources=resources,
    )


def _with_code_references(assets: Sequence[dg.AssetsDefinition]) -> Sequence[Any]:
    """The assets with where their code stands; a host that maps files to git turns that into links."""
    with warnings.catch_warnings():
        # Beta in Dagster 1.12 and 1.13; what it may change is how the UI shows it.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.with_source_code_references(assets)


def _job(opening: Opening, name: str, selection: dg.AssetSelection, description: str) -> dg.UnresolvedAssetJobDefinition:
    """A job over assets, by default in one process: a process for each step takes ten times as long as the step."""
    return dg.define_asset_job(
        opening.names.of(name),
        selection=selection,
        description=description,
        tags={"vector_pipeline": opening.settings.name or "default"},
        executor_def=opening.options.executor,
    )


def _resources(opening: Opening) -> dict[str, object]:
    settings, names = opening.settings, opening.names
    return {
        names.of("postgres"): postgres_resource(opening),
        names.of("source"): source_resource(settings),
        names.of("openai"): openai_resource(settings),
        names.of("stages"): ParquetStages(base=stage_base(settings)),
    }
