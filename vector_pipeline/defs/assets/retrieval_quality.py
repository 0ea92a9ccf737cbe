"""`retrieval_quality`: how much of the golden set searches find, measured after each change of the table."""

from typing import Any

import dagster as dg

from vector_pipeline.defs.failures import explained
from vector_pipeline.defs.names import MEASURED
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.pictures import outcome_table
from vector_pipeline.defs.work import pipeline_of
from vector_pipeline.queries.evaluation.evaluate import DECISIVE, evaluate
from vector_pipeline.settings import variable

CHECK = "retrieval_recall"


def build_retrieval_quality(opening: Opening) -> dg.AssetsDefinition:
    """The asset `retrieval_quality` with its check. Only a pipeline with a golden set has it."""
    names, options = opening.names, opening.options

    @dg.asset(
        name=MEASURED,
        key_prefix=names.key_prefix,
        group_name=options.group_name or names.group,
        owners=list(options.owners),
        tags={**options.tags},
        metadata={**options.metadata},
        kinds={"postgres", "pgvector"},
        deps=[names.asset("vector_index")],
        required_resource_keys={names.of("postgres")},
        automation_condition=_after_the_index(),
        check_specs=[
            dg.AssetCheckSpec(
                name=CHECK,
                asset=names.asset(MEASURED),
                description=(
                    "Searches find enough of the golden set: recall@5 by words and meaning together is at least "
                    f"{variable('min_retrieval_recall')}."
                ),
            )
        ],
        description=(
            "How much of the golden set searches find. Each question is asked in each mode. recall@5 is the share of "
            "the answer in the first five results, MRR says how early the first part of it comes, and nDCG counts both; "
            "low and high are the ends of a 95 % interval. It is measured again after each run of vector_index."
        ),
    )
    # Dagster knows the result of an asset with checks by the bare class.
    def retrieval_quality(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        pipeline = pipeline_of(context, names)
        with explained():
            found = evaluate(pipeline, pipeline.settings.golden_set)
        for problem in found["problems"]:
            context.log.warning(f"{pipeline.settings.golden_set}, line {problem['line']}: {problem['error']}")
        return dg.MaterializeResult(
            metadata=_metadata(found), check_results=[_check(found, pipeline.settings.min_retrieval_recall)]
        )

    return retrieval_quality


def _after_the_index() -> dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]:
    condition = dg.AutomationCondition
    loaded = condition.any_deps_updated()
    return loaded.since(condition.newly_requested() & ~loaded) & ~condition.in_progress()


def _metadata(found: dict[str, Any]) -> dict[str, dg.MetadataValue]:
    k = found["k"]
    figures: dict[str, dg.MetadataValue] = {
        "questions": dg.MetadataValue.int(found["questions"]),
        "lines_not_measured": dg.MetadataValue.int(len(found["problems"])),
    }
    for mode, of_mode in found["modes"].items():
        for language, group in [("all", of_mode), *of_mode["languages"].items()]:
            for name, label in (("recall", f"recall@{k}"), ("mrr", "MRR"), ("ndcg", f"nDCG@{k}")):
                for part, ending in (("value", ""), ("low", " low"), ("high", " high")):
                    value = round(float(group[name][part]), 4)
                    figures[f"{label}{ending}/{mode}/{language}"] = dg.MetadataValue.float(value)
    if found["problems"]:
        figures["problems"] = outcome_table(
            (f"line {problem['line']}", "not measured", problem["error"]) for problem in found["problems"]
        )
    return figures


def _check(found: dict[str, Any], least: float) -> dg.AssetCheckResult:
    recall = found["modes"][DECISIVE]["recall"]
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=recall["value"] >= least,
        description=(
            f"recall@{found['k']} is {recall['value']:.3f} ({recall['low']:.3f} to {recall['high']:.3f}) of "
            f"{found['questions']:,} questions; at least {least} is wanted"
        ),
        metadata={f"recall@{found['k']}": round(float(recall["value"]), 4), "least": least},
    )
