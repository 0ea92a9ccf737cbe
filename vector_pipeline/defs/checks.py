"""Asset checks: red when disk, manifest and table do not say the same, or the index finds too little."""

import dagster as dg

from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.pictures import outcome_table
from vector_pipeline.defs.ticks import notice_seconds
from vector_pipeline.defs.work import pipeline_of, source_of
from vector_pipeline.errors import ConfigurationError, SourceError
from vector_pipeline.queries.compare import Comparison, compare
from vector_pipeline.store import manifest
from vector_pipeline.store.space import list_spaces
from vector_pipeline.store.sweep import count_mismatches, orphans


def build_checks(opening: Opening) -> list[dg.AssetChecksDefinition]:
    """The checks of a pipeline, each on the asset that it speaks of."""
    names = opening.names
    postgres, source = names.of("postgres"), names.of("source")

    @dg.asset_check(
        asset=names.asset("vector_index"),
        name="table_matches_disk",
        required_resource_keys={postgres, source},
        description="The source, listed again, holds what the table holds; pending and just changed files aside.",
    )
    def table_matches_disk(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        pipeline = pipeline_of(context, names)
        try:
            with pipeline.database.connect(role="checks") as connection:
                places = source_of(context, names).open(connection)
            quiet = pipeline.settings.quiet_seconds
            found = [
                compare(pipeline.database, s, quiet_seconds=quiet + notice_seconds(s, opening.ticks)) for s in places
            ]
        except (ConfigurationError, SourceError) as error:
            # This check is there to show that the source is away, which is no reason for the run to fail.
            return dg.AssetCheckResult(passed=False, description=str(error), metadata={"error": str(error)})
        return _matches(found)

    @dg.asset_check(
        asset=names.asset("vector_index"),
        name="all_files_loaded",
        required_resource_keys={postgres},
        description="Every file of the source is loaded; the others are listed with the reason.",
    )
    def all_files_loaded(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with pipeline_of(context, names).database.connect(role="checks") as connection:
            counts = manifest.count_files(connection)
            open_files = manifest.files_with_status(connection, "rejected", "pending", limit=200)
            several = len(manifest.known_roots(connection)) > 1
        return dg.AssetCheckResult(
            passed=counts.pending == 0 and counts.rejected == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{counts.loaded:,} files loaded, {counts.pending:,} pending, {counts.rejected:,} rejected",
            metadata={
                "files_loaded": counts.loaded,
                "files_pending": counts.pending,
                "files_rejected": counts.rejected,
                "files_deleted": counts.deleted,
                "files": outcome_table(
                    (f"{f.root}/{f.path}" if several else f.path, f.status, f.error or "") for f in open_files
                ),
            },
        )

    @dg.asset_check(
        asset=names.asset("vector_index"),
        name="no_orphans",
        required_resource_keys={postgres},
        description="No chunk in the table belongs to a file that is deleted, and each loaded file has all its rows.",
    )
    def no_orphans(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with pipeline_of(context, names).database.connect(role="checks") as connection:
            count = orphans(connection)
            mismatches = count_mismatches(connection)
        return dg.AssetCheckResult(
            passed=count == 0 and not mismatches,
            metadata={
                "orphaned_rows": count,
                "files_with_other_rows": outcome_table(
                    (path, "mismatch", f"{expected:,} rows by the manifest, {found:,} in the table")
                    for path, expected, found in mismatches
                ),
            },
        )

    @dg.asset_check(
        asset=names.asset("vector_index"),
        name="recall",
        required_resource_keys={postgres},
        description="The index finds what exact search finds: recall@10 of at least VECTOR_PIPELINE_MIN_RECALL.",
    )
    def recall(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        pipeline = pipeline_of(context, names)
        least = pipeline.settings.min_recall
        with pipeline.database.connect(role="checks") as connection:
            measured = {s.name: s.recall for s in list_spaces(connection) if s.recall is not None}
        return dg.AssetCheckResult(
            passed=all(value >= least for value in measured.values()),
            metadata={"least": least, **{f"recall/{name}": round(value, 4) for name, value in measured.items()}},
        )

    return [table_matches_disk, all_files_loaded, no_orphans, recall]


def _matches(found: list[Comparison]) -> dg.AssetCheckResult:
    differs = sum(comparison.differs for comparison in found)
    meaning = {
        "missing": "on disk and not in the table",
        "deleted": "in the table and no longer on disk",
        "changed": "changed on disk since it was loaded",
    }
    return dg.AssetCheckResult(
        passed=differs == 0,
        description=f"{differs:,} files differ" if differs else "what the source lists is what was loaded",
        metadata={
            **{
                f"files_{name}": sum(getattr(comparison, name) for comparison in found)
                for name in ("same", "pending", "waiting", "missing", "deleted", "changed", "passed_over")
            },
            "differences": outcome_table(
                (f"{comparison.root}/{item.path}" if len(found) > 1 else item.path, item.kind, meaning[item.kind])
                for comparison in found
                for item in comparison.differences
            ),
        },
    )
