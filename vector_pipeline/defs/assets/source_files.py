"""`source_files`: the manifest as an asset. To materialize it means to scan the source."""

from dataclasses import replace
from functools import partial

import dagster as dg
from pydantic import Field

from vector_pipeline.defs.failures import explained
from vector_pipeline.defs.names import Names
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.pictures import column_schema, shortened
from vector_pipeline.defs.work import pipeline_of, source_of
from vector_pipeline.errors import ConfigurationError
from vector_pipeline.stages.roots import gone, gone_line
from vector_pipeline.stages.scan import ScanResult, scan_patiently
from vector_pipeline.store import manifest
from vector_pipeline.store.kept import Kept
from vector_pipeline.store.load_progress import LoadProgress, load_progress

COLUMNS = {
    "root": ("text", "folder or URL of the source"),
    "path": ("text", "path under the root, with /"),
    "fingerprint": ("text", "size and times, or etag, from the last listing"),
    "arrival": ("text", "the partition that the file belongs to"),
    "status": ("text", "pending, loaded, rejected or deleted"),
    "error": ("text", "why it was rejected and what to do"),
    "documents": ("integer", "documents in it"),
    "chunks": ("integer", "chunks loaded from it"),
    "tokens": ("bigint", "tokens of those chunks"),
    "encoding": ("text", "encoding of the file"),
}


class ScanConfig(dg.Config):
    """What a person may set when they materialize `source_files`."""

    confirm_deletions: str = ""
    """The folder or URL whose deletions are confirmed, even if most of its files are gone."""

    quiet: bool = False
    """Skip files that changed within QUIET_SECONDS, like the sensor."""

    without: list[str] = Field(default_factory=list)
    """Roots that are not scanned, because EVENTS_URL names what changes in them."""


def build_source_files(opening: Opening) -> dg.AssetsDefinition:
    """The asset `source_files`."""
    names, options = opening.names, opening.options
    condition = options.automation_condition
    if condition is None and options.deps:
        # If several assets write the source in one run, one scan follows.
        condition = dg.AutomationCondition.any_deps_updated() & ~dg.AutomationCondition.any_deps_in_progress()

    @dg.asset(
        name="source_files",
        key_prefix=names.key_prefix,
        group_name=options.group_name or names.group,
        owners=list(options.owners),
        tags={**options.tags},
        kinds={"postgres"},
        deps=list(options.deps),
        automation_condition=condition,
        freshness_policy=options.freshness,
        required_resource_keys={names.of("postgres"), names.of("source")},
        metadata={
            "dagster/column_schema": column_schema(COLUMNS),
            "dagster/table_name": f"{opening.settings.db_schema}.source_files",
            **options.metadata,
        },
        description=(
            "One row per file of the source: its fingerprint, its arrival, its status and its error. Materialize it to "
            "scan the source: new, changed and deleted files become new arrivals."
        ),
    )
    def source_files(context: dg.AssetExecutionContext, config: ScanConfig) -> dg.MaterializeResult[None]:
        pipeline, source = pipeline_of(context, names), source_of(context, names)
        options = pipeline.scan_options("sensor" if config.quiet else "asset", quiet=config.quiet)
        with explained(), Kept(pipeline.database, "source_files", log=context.log.info) as kept:
            opened = kept.run(source.open)
            places = [place for place in opened.sources if place.root not in config.without]
            confirmed = _confirmed(config, [place.root for place in places])
            results = [
                scan_patiently(
                    pipeline.database,
                    place,
                    replace(options, confirm_deletions=place.root == confirmed),
                    log=context.log.info,
                )
                for place in places
            ]
            for line in (*opened.failed, *map(gone_line, kept.run(gone))):
                context.log.warning(line)
            for result in results:
                context.log.info(f"{result.root}: {result}")
                if result.warning:
                    context.log.warning(result.warning)
            arrivals = kept.run(manifest.pending_arrivals)
            counts = kept.run(manifest.count_files)
            progress = kept.run(partial(load_progress, counts=counts))
            # After a manual scan also those that are loaded, because a person may have deleted the partition.
            registered = arrivals if config.quiet else kept.run(manifest.owning_arrivals)
        register_arrivals(context.instance, names, registered)
        return dg.MaterializeResult(metadata=scan_metadata(results, counts, arrivals, progress))

    return source_files


def _confirmed(config: ScanConfig, roots: list[str]) -> str | None:
    """The root whose deletions are confirmed. Raises ConfigurationError for one that is not scanned."""
    confirmed = config.confirm_deletions.strip().rstrip("/")
    if not confirmed:
        return None
    if confirmed not in roots:
        raise ConfigurationError(
            f"confirm_deletions is '{confirmed}', which is not scanned: name one of {', '.join(roots)}"
        )
    return confirmed


def register_arrivals(instance: dg.DagsterInstance, names: Names, arrivals: list[str]) -> None:
    """Create partitions for arrivals, oldest first. Existing ones stay as they are."""
    if arrivals:
        instance.add_dynamic_partitions(names.arrivals.name or "", arrivals)


def scan_metadata(
    results: list[ScanResult],
    counts: manifest.ManifestCounts,
    arrivals: list[str],
    progress: LoadProgress | None = None,
) -> dict[str, dg.MetadataValue]:
    """The result of a scan as numbers for plots and as tables."""
    found = {
        name: dg.MetadataValue.int(sum(getattr(result, name) for result in results))
        for name in ("new", "changed", "deleted", "touched", "waiting", "unchanged", "withheld")
    }
    several = len(results) > 1
    passed_over = [
        dg.TableRecord(
            {"path": shortened(f"{result.root}/{item.path}" if several else item.path), "reason": item.reason}
        )
        for result in results
        for item in result.passed_over[:50]
    ]
    tables: dict[str, dg.MetadataValue] = {}
    if passed_over:
        tables["passed_over"] = dg.MetadataValue.table(passed_over)
    return {
        **found,
        **state_metadata(counts, arrivals, progress),
        "files_not_read": dg.MetadataValue.int(sum(result.other_kinds.total() for result in results)),
        **tables,
    }


def state_metadata(
    counts: manifest.ManifestCounts, arrivals: list[str], progress: LoadProgress | None = None
) -> dict[str, dg.MetadataValue]:
    """The number of files with each status, the pending arrivals, and how far their load is."""
    loading: dict[str, dg.MetadataValue] = {}
    if progress is not None:
        loading["share_loaded"] = dg.MetadataValue.float(round(progress.share, 4))
        loading["usd_today"] = dg.MetadataValue.float(round(progress.usd_today, 6))
        loading["loading"] = dg.MetadataValue.text(str(progress))
    return {
        "dagster/row_count": dg.MetadataValue.int(counts.loaded + counts.pending + counts.rejected),
        "files_loaded": dg.MetadataValue.int(counts.loaded),
        "files_pending": dg.MetadataValue.int(counts.pending),
        "files_rejected": dg.MetadataValue.int(counts.rejected),
        "files_deleted": dg.MetadataValue.int(counts.deleted),
        **loading,
        "pending_arrivals": dg.MetadataValue.md("\n".join(f"- `{key}`" for key in arrivals[:100]) or "none"),
    }
