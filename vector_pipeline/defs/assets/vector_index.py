"""`vector_index`: maintain and measure the indexes, and do the upkeep."""

from collections.abc import Callable

import dagster as dg

from vector_pipeline.defs.failures import explained
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.work import pipeline_of
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.upkeep import keep_in_order
from vector_pipeline.store.again import again
from vector_pipeline.store.index import IndexReport, maintain_index
from vector_pipeline.store.lexical.maintenance import LexicalReport, maintain_lexical

# How the lines about the build of an index begin: its size, memory and progress, and what was measured.
BUILDING = ("building the index", "the index of", "index: ", "hnsw graph", "measuring the recall", "half precision")


def build_vector_index(opening: Opening) -> dg.AssetsDefinition:
    """The asset `vector_index`."""
    names, options = opening.names, opening.options

    @dg.asset(
        name="vector_index",
        key_prefix=names.key_prefix,
        group_name=options.group_name or names.group,
        owners=list(options.owners),
        tags={**options.tags},
        metadata={**options.metadata},
        freshness_policy=options.freshness,
        kinds={"postgres", "pgvector"},
        deps=[names.asset("document_rows")],
        required_resource_keys={names.of("postgres")},
        automation_condition=_when_loads_are_quiet(),
        description=(
            "The HNSW index of each space, and the lexical index. When no loads are running, landed vectors and terms "
            "are moved into them if there are enough, and recall@10 is measured against exact search. It also removes "
            "vectors that no chunk refers to, and stage files of finished arrivals."
        ),
    )
    def vector_index(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        pipeline = pipeline_of(context, names)

        def log(line: str) -> None:
            context.log.info(line)
            # A build may take minutes; on the command line nothing else would be shown meanwhile.
            if line.startswith(BUILDING):
                opening.say(line)

        with explained():
            swept, stages = keep_in_order(pipeline)
            lexical, reports = again(pipeline.settings.retry_seconds, lambda: _maintain(pipeline, log), log=log)
        metadata: dict[str, dg.MetadataValue] = {
            "vectors_swept": dg.MetadataValue.int(swept),
            "stages_removed": dg.MetadataValue.int(stages),
        }
        if lexical is not None:
            metadata |= {
                "lexical/texts": dg.MetadataValue.int(lexical.texts),
                "lexical/landing": dg.MetadataValue.int(lexical.landing),
                "lexical/segments": dg.MetadataValue.int(lexical.segments),
                "lexical/bytes": dg.MetadataValue.int(lexical.bytes),
            }
        for report in reports:
            metadata |= _metadata(report, f"{report.space}/" if len(reports) > 1 else "")
        return dg.MaterializeResult(metadata=metadata)

    return vector_index


def _maintain(pipeline: Pipeline, log: Callable[[str], None]) -> tuple[LexicalReport | None, list[IndexReport]]:
    lexical = maintain_lexical(pipeline.database, log=log)
    return lexical, maintain_index(
        pipeline.database,
        recall=pipeline.settings.min_recall,
        index_type=pipeline.settings.index_type,
        log=log,
        progress=pipeline.advance,
    )


def _when_loads_are_quiet() -> dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]:
    # An arrival may be loaded during a build and appear in the same tick as the end of that run. It is not in the index
    # then. One run too many is better than one too few.
    condition = dg.AutomationCondition
    loaded = condition.any_deps_updated()
    return (
        loaded.since(condition.newly_requested() & ~loaded)
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
    )


def _metadata(report: IndexReport, prefix: str) -> dict[str, dg.MetadataValue]:
    found: dict[str, dg.MetadataValue] = {
        f"{prefix}dagster/row_count" if not prefix else f"{prefix}vectors": dg.MetadataValue.int(report.vectors),
        f"{prefix}vectors_landing": dg.MetadataValue.int(report.landing),
        f"{prefix}vectors_moved": dg.MetadataValue.int(report.moved),
        f"{prefix}built_afresh": dg.MetadataValue.bool(report.built),
        f"{prefix}indexed": dg.MetadataValue.bool(report.indexed),
        f"{prefix}index_type": dg.MetadataValue.text(report.index_type),
        f"{prefix}seconds": dg.MetadataValue.float(round(report.seconds, 3)),
    }
    if report.indexed:
        found[f"{prefix}index_bytes"] = dg.MetadataValue.int(report.index_bytes)
    if report.ef_search is not None:
        found[f"{prefix}ef_search"] = dg.MetadataValue.int(report.ef_search)
    for name in ("recall", "p50_ms", "p95_ms"):
        value = getattr(report, name)
        if value is not None:
            found[f"{prefix}{name}"] = dg.MetadataValue.float(round(value, 4))
    return found
