"""Errors of the pipeline in Dagster: the line as it is, what happens next, and a retry only where it can help."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from vector_pipeline.defs.failures import KEPT, NEXT, explained, failure, kind_of
from vector_pipeline.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    FileRejected,
    PipelineError,
    ProviderRefused,
    ProviderUnavailable,
    QuotaExhausted,
    SourceError,
    StorageError,
    TakenOver,
)


def every_error(kind: type[PipelineError] = PipelineError) -> Iterator[type[PipelineError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from every_error(inner)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_says_what_happens_next(kind: type[PipelineError]) -> None:
    found = failure(kind("the disk is full"))
    assert found.description == "the disk is full"
    assert found.metadata["error"].value == kind.__name__
    assert found.metadata["next"].value == f"{NEXT[kind_of(kind('x'))]} {KEPT}"
    assert found.allow_retries == (found.metadata["kind"].value == "passing")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DatabaseUnavailable("x"), "passing"),
        (ProviderUnavailable("x"), "passing"),
        (SourceError("x"), "passing"),
        (StorageError("x"), "passing"),
        (ProviderRefused("x"), "account"),
        (QuotaExhausted("x"), "account"),
        (ConfigurationError("x"), "other"),
        (DatabaseError("x"), "other"),
        (TakenOver("x"), "other"),
        (FileRejected("x"), "other"),
        (ValueError("x"), "other"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_what_can_be_done_follows_from_the_kind_of_error(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_metadata_of_the_work_before_an_error_is_added() -> None:
    found = failure(ProviderRefused("no key"), {"tokens": dg.MetadataValue.int(7)})
    assert (found.metadata["tokens"].value, found.metadata["reason"].value) == (7, "no key")


def test_an_error_in_a_step_fails_it_with_one_line_and_is_tried_again_only_if_that_can_help() -> None:
    tried: list[str] = []

    def failing(error: PipelineError) -> dg.OpDefinition:
        @dg.op(name=type(error).__name__, retry_policy=dg.RetryPolicy(max_retries=2))
        def step() -> None:
            tried.append(type(error).__name__)
            with explained():
                raise error

        return step

    @dg.job(executor_def=dg.in_process_executor)
    def job() -> None:
        failing(DatabaseUnavailable("Postgres does not answer"))()
        failing(ConfigurationError("SOURCE is wrong"))()

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert sorted(tried) == ["ConfigurationError", *["DatabaseUnavailable"] * 3]
    lines = {}
    for event in result.get_step_failure_events():
        data = event.step_failure_data.user_failure_data
        assert data is not None
        lines[event.step_key] = data.description
    assert lines == {"DatabaseUnavailable": "Postgres does not answer", "ConfigurationError": "SOURCE is wrong"}


def test_an_error_that_is_not_the_pipelines_passes_unchanged_and_the_cause_is_kept() -> None:
    with pytest.raises(ZeroDivisionError), explained():
        raise ZeroDivisionError
    cause = SourceError("the share is not mounted")
    with pytest.raises(dg.Failure) as raised, explained():
        raise cause
    assert raised.value.__cause__ is cause
