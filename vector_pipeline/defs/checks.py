"""Asset checks: they fail if source, manifest and table do not agree, or if the index finds too little."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from vector_pipeline.defs import file_checks
from vector_pipeline.defs.file_checks import FileState
from vector_pipeline.defs.names import CHECKS
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.pictures import outcome_table
from vector_pipeline.defs.ticks import notice_seconds
from vector_pipeline.defs.work import pipeline_of, source_of
from vector_pipeline.errors import ConfigurationError, SourceError, counted
from vector_pipeline.queries.compare import Comparison, compare_when_due
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.inspections import inspect_rows
from vector_pipeline.store.scans import last_scans
from vector_pipeline.store.space import list_spaces


def build_checks(opening: Opening) -> list[dg.AssetChecksDefinition]:
    """The checks of a pipeline, each on its asset."""
    return [
        _of_files(
            opening,
            "Every file of the source is loaded; the others are listed with the reason.",
            file_checks.all_files_loaded,
        ),
        _of_files(
            opening,
            "Every file can be read and embedded; the others are listed with the reason.",
            file_checks.no_files_rejected,
        ),
        _table_matches_disk(opening),
        _no_orphans(opening),
        _recall(opening),
    ]


def _check(
    opening: Opening, name: str, description: str, *, needs: Sequence[str] = ("postgres",)
) -> Callable[[Callable[..., Any]], dg.AssetChecksDefinition]:
    """A decorator that turns a function into a check. The check runs again after each run of `vector_index`."""
    names = opening.names
    index = names.asset("vector_index")
    asset = names.asset(CHECKS[name])
    return dg.asset_check(
        asset=asset,
        name=name,
        description=description,
        additional_deps=[] if asset == index else [index],
        required_resource_keys={names.of(resource) for resource in needs},
        automation_condition=_after(index),
    )


def _after(index: dg.AssetKey) -> dg.AutomationCondition[Any]:
    condition = dg.AutomationCondition
    kept = condition.any_deps_updated().allow(dg.AssetSelection.assets(index))
    return kept.since(condition.newly_requested() & ~kept) & ~condition.in_progress()


def _of_files(
    opening: Opening,
    description: str,
    evaluate: Callable[[Connection, FileState], dg.AssetCheckResult],
) -> dg.AssetChecksDefinition:
    """A check of the manifest, named like the function that evaluates it. The sensor evaluates the same function."""
    names = opening.names

    @_check(opening, evaluate.__name__, description)
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with pipeline_of(context, names).database.connect(role="checks") as connection:
            return evaluate(connection, FileState.read(connection))

    return check


def _table_matches_disk(opening: Opening) -> dg.AssetChecksDefinition:
    names = opening.names

    @_check(
        opening,
        "table_matches_disk",
        "A new listing of the source agrees with the table, except for pending and just changed files.",
        needs=("postgres", "source"),
    )
    def table_matches_disk(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        pipeline = pipeline_of(context, names)
        try:
            with pipeline.database.connect(role="checks") as connection:
                opened = source_of(context, names).open(connection)
                scans = {last.root: last for last in last_scans(connection)}
            quiet = pipeline.settings.quiet_seconds
            found = [
                compare_when_due(
                    pipeline.database,
                    place,
                    quiet_seconds=quiet + notice_seconds(place, scans.get(place.root), opening.ticks),
                    choice=pipeline.choice,
                )
                for place in opened.sources
            ]
            opened.require_all()
        except (ConfigurationError, SourceError) as error:
            # The check shows that the source cannot be reached. The run itself need not fail for that.
            return dg.AssetCheckResult(passed=False, description=str(error), metadata={"error": str(error)})
        return _matches(found)

    return table_matches_disk


def _no_orphans(opening: Opening) -> dg.AssetChecksDefinition:
    names = opening.names

    @_check(
        opening,
        "no_orphans",
        "No chunk in the table belongs to a file that is deleted, and each loaded file has all its rows.",
    )
    def no_orphans(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with pipeline_of(context, names).database.connect(role="checks") as connection:
            found = inspect_rows(connection)
        return dg.AssetCheckResult(
            passed=found.is_sound,
            metadata={
                "all_files_inspected": found.whole,
                "orphaned_rows": found.orphans,
                "files_with_other_rows": outcome_table(
                    (path, "mismatch", f"{counted(expected, 'row')} by the manifest, {rows:,} in the table")
                    for path, expected, rows in found.mismatches
                ),
            },
        )

    return no_orphans


def _recall(opening: Opening) -> dg.AssetChecksDefinition:
    names = opening.names

    @_check(
        opening,
        "recall",
        "The index finds what exact search finds: recall@10 of at least VECTOR_PIPELINE_MIN_RECALL.",
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

    return recall


def _matches(found: list[Comparison]) -> dg.AssetCheckResult:
    differs = sum(comparison.differs for comparison in found)
    meaning = {
        "missing": "in the source but not in the table",
        "deleted": "in the table but no longer in the source",
        "changed": "changed in the source since it was loaded",
    }
    return dg.AssetCheckResult(
        passed=differs == 0,
        description=counted(differs, "file differs", "files differ") if differs else "the source and the table agree",
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
