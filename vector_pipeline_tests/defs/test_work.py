"""The beginning of an asset's work: a partition that is no arrival is refused, and the reason of an error is kept.

Dagster evaluates the annotation of a context at once, so they are not postponed here.
"""

from pathlib import Path

import dagster as dg

from vector_pipeline.defs.assets.stage import stage_asset
from vector_pipeline.defs.io_manager import ParquetStages
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.resources import postgres_resource
from vector_pipeline.defs.work import work_on
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.status import read_status
from vector_pipeline.store.failed_arrivals import failed_arrivals
from vector_pipeline_tests.support.corpus import own
from vector_pipeline_tests.support.pipelines import Ingest
from vector_pipeline_tests.support.runs import materialize, metadata_of, reason_of


def test_a_partition_that_is_no_arrival_is_refused(pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("arrivals", ["foo"])
    result = materialize(pipeline, instance, "foo", "documents")
    assert not result.success
    assert "partition 'foo' is not an arrival" in reason_of(result)


def test_status_has_the_reason_of_the_last_run_whatever_it_was(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    with pipeline.database.connect() as connection:
        connection.execute("ALTER TABLE chunk_sections RENAME TO elsewhere")
        assert run(corpus).pending == 3
        (first,) = {file["error"] for file in read_status(pipeline)["pending"]}
        assert "chunk_sections" in str(first)
        connection.execute("ALTER TABLE elsewhere RENAME TO chunk_sections")
    (arrival,) = instance.get_dynamic_partitions("arrivals")
    pipeline.stage_files.remove(["documents"], [arrival])
    assert not materialize(pipeline, instance, arrival, "chunks").success
    assert run(corpus).loaded == 3


def test_an_arrival_whose_files_later_ones_own_is_no_error_and_says_so(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    with pipeline.database.connect() as connection:
        own(connection, "A1", ["a.txt"])
        own(connection, "A2", ["a.txt"])
    instance.add_dynamic_partitions("arrivals", ["A1"])
    result = materialize(pipeline, instance, "A1", "documents")
    assert result.success
    assert metadata_of(result, "documents")["documents"] == 0
    lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any("arrival A1 no longer owns any file: later arrivals own its files" in line for line in lines)


def test_an_error_that_is_not_the_pipelines_is_recorded_with_its_type(
    pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    with pipeline.database.connect() as connection:
        own(connection, "A1", ["a.txt"])
    instance.add_dynamic_partitions("arrivals", ["A1"])
    opening = Opening(pipeline.settings, pipeline)

    @stage_asset(opening, "documents", columns={}, kinds=set(), description="An asset with a mistake in it.")
    def documents(context: dg.AssetExecutionContext) -> None:
        with work_on(context, opening.names) as work:
            raise ZeroDivisionError(f"a mistake in {work.arrival}\nof ours")

    result = dg.materialize(
        [documents],
        instance=instance,
        partition_key="A1",
        resources={"postgres": postgres_resource(opening), "stages": ParquetStages(base="unused")},
        raise_on_error=False,
    )
    assert not result.success
    with pipeline.database.connect() as connection:
        (failed,) = failed_arrivals(connection)
    assert (failed.error, failed.failure) == ("ZeroDivisionError: a mistake in A1 of ours", "other")
    assert failed.failed_run == result.run_id
