"""Why a run failed, from its events in Dagster, where the run itself could not record it in Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from vector_pipeline.defs.failures import failure
from vector_pipeline.defs.run_failures import BEFORE_ITS_FIRST_STEP, ENDED, note_failures, reason_of
from vector_pipeline.errors import PipelineError, ProviderRefused, SourceError, SpaceMismatch
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.failed_arrivals import FailedArrival, fail_attempt, failed_arrivals
from vector_pipeline_tests.support.corpus import own


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(role="test") as connection:
        own(connection, "A1", ["a.txt"])
        yield connection


def run_that_fails(instance: dg.DagsterInstance, error: Exception) -> dg.ExecuteInProcessResult:
    @dg.op
    def embeddings() -> None:
        if isinstance(error, PipelineError):
            raise failure(error) from error
        raise error

    @dg.job(executor_def=dg.in_process_executor)
    def ingest() -> None:
        embeddings()

    return ingest.execute_in_process(instance=instance, raise_on_error=False)


def created(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """A run without any step."""

    @dg.job
    def ingest() -> None: ...

    return instance.create_run_for_job(ingest, status=status)


def noted(connection: Connection) -> FailedArrival | None:
    found = failed_arrivals(connection)
    return found[0] if found else None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ProviderRefused("OPENAI_API_KEY is refused"), "account"),
        (SourceError("the share is not mounted"), "passing"),
        (SpaceMismatch("the table holds another model"), "other"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_a_step_with_an_error_of_the_pipeline_is_named_with_its_line(
    instance: dg.DagsterInstance, error: PipelineError, kind: str
) -> None:
    events = run_that_fails(instance, error).get_step_failure_events()
    assert reason_of(events) == (f"embeddings: {error}", kind)


def test_any_other_error_is_one_line_of_its_cause(instance: dg.DagsterInstance) -> None:
    events = run_that_fails(instance, ValueError("the first line\nand " + "x" * 1_000)).get_step_failure_events()
    reason, kind = reason_of(events)
    assert reason.startswith("embeddings: ValueError: the first line and x")
    assert "\n" not in reason
    assert (len(reason) < 550, kind) == (True, "other")


def test_a_failure_of_an_asset_of_the_host_needs_a_person(instance: dg.DagsterInstance) -> None:
    """Its metadata may have a `kind` that is none of ours."""
    events = run_that_fails(instance, dg.Failure("dbt failed", metadata={"kind": "sql"})).get_step_failure_events()
    assert reason_of(events) == ("embeddings: dbt failed", "other")


def test_a_run_without_a_failed_step_could_not_begin_and_is_tried_again() -> None:
    assert reason_of([]) == (BEFORE_ITS_FIRST_STEP, "passing")


def test_the_reason_of_a_failed_run_is_recorded_once(instance: dg.DagsterInstance, connection: Connection) -> None:
    run = run_that_fails(instance, ProviderRefused("OPENAI_API_KEY is refused")).dagster_run
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    note_failures(instance, connection, [("A1", found)])
    first = noted(connection)
    assert first is not None
    assert (first.error, first.failure) == ("embeddings: OPENAI_API_KEY is refused", "account")
    assert first.failed_run == run.run_id
    note_failures(instance, connection, [("A1", found)])
    assert noted(connection) == first


def test_what_a_run_recorded_itself_stays(instance: dg.DagsterInstance, connection: Connection) -> None:
    run = created(instance, dg.DagsterRunStatus.FAILURE)
    fail_attempt(connection, "A1", "what it knew itself", "account", run=run.run_id)
    note_failures(instance, connection, [("A1", run)])
    found = noted(connection)
    assert found is not None
    assert (found.error, found.failure) == ("what it knew itself", "account")


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (dg.DagsterRunStatus.CANCELED, ENDED, "other"),
        (dg.DagsterRunStatus.FAILURE, BEFORE_ITS_FIRST_STEP, "passing"),
    ],
)
def test_a_newer_run_replaces_the_reason_of_an_earlier_one(
    instance: dg.DagsterInstance, connection: Connection, status: dg.DagsterRunStatus, error: str, kind: str
) -> None:
    fail_attempt(connection, "A1", "of an earlier run", "account", run="an earlier run")
    note_failures(instance, connection, [("A1", created(instance, status))])
    found = noted(connection)
    assert found is not None
    assert (found.error, found.failure) == (error, kind)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED])
def test_a_run_that_succeeded_or_is_under_way_records_nothing(
    instance: dg.DagsterInstance, connection: Connection, status: dg.DagsterRunStatus
) -> None:
    note_failures(instance, connection, [("A1", created(instance, status))])
    assert noted(connection) is None
