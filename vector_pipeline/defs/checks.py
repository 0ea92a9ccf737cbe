"""Asset checks: red when the table and the manifest do not say the same, or the index finds too little."""

import dagster as dg

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.pictures import outcome_table
from vector_pipeline.defs.resources import PostgresResource
from vector_pipeline.store import manifest
from vector_pipeline.store.spaces import list_spaces
from vector_pipeline.store.sweep import count_mismatches, orphans


def build_checks(names: Names) -> list[dg.AssetChecksDefinition]:
    """The checks of a pipeline, on the asset that they speak of."""
    postgres = names.of("postgres")

    @dg.asset_check(
        asset=names.asset("vector_index"),
        name="all_files_loaded",
        required_resource_keys={postgres},
        description="Every file of the source is loaded; the others are listed with the reason.",
    )
    def all_files_loaded(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        database: PostgresResource = getattr(context.resources, postgres)
        with database.pipeline.database.connect(role="checks") as connection:
            counts = manifest.count_files(connection)
            open_files = manifest.files_with_status(connection, "rejected", "pending", limit=200)
        return dg.AssetCheckResult(
            passed=counts.pending == 0 and counts.rejected == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "files_loaded": counts.loaded,
                "files_pending": counts.pending,
                "files_rejected": counts.rejected,
                "files": outcome_table((f.path, f.status, f.error or "") for f in open_files),
            },
        )

    @dg.asset_check(
        asset=names.asset("vector_index"),
        name="no_orphans",
        required_resource_keys={postgres},
        description="No chunk in the table belongs to a file that is deleted, and each loaded file has all its rows.",
    )
    def no_orphans(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        database: PostgresResource = getattr(context.resources, postgres)
        with database.pipeline.database.connect(role="checks") as connection:
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
        database: PostgresResource = getattr(context.resources, postgres)
        least = database.pipeline.settings.min_recall
        with database.pipeline.database.connect(role="checks") as connection:
            measured = {s.name: s.recall for s in list_spaces(connection) if s.recall is not None}
        return dg.AssetCheckResult(
            passed=all(value >= least for value in measured.values()),
            metadata={"least": least, **{f"recall/{name}": round(value, 4) for name, value in measured.items()}},
        )

    return [all_files_loaded, no_orphans, recall]
