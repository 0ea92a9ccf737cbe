"""Runs in Dagster's instance: which are a pipeline's own, which are under way, and which are requested again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.names import STAGES, Names
from vector_pipeline.defs.runs import (
    ACTIVE,
    PARTITION,
    SPEND_UNTIL,
    TRIES,
    WILL_RETRY,
    is_active,
    is_of,
    run_keys,
    runs_of,
    spend_until,
    was_interrupted,
)
from vector_pipeline.settings import Settings

ARRIVAL = "20261127T000000Z-001"


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, dg.JobDefinition]:
    """The jobs of a pipeline without a name, and of one with the name `law`; and the job that the UI runs assets in."""
    home = tmp_path_factory.mktemp("home")
    found: dict[str, dg.JobDefinition] = {}
    for name in ("", "law"):
        definitions = build_definitions(Settings.of(home=home, name=name))
        found |= {job: definitions.resolve_job_def(job) for job in Names(name).jobs}
        found[f"{name}__ASSET_JOB"] = definitions.resolve_implicit_global_asset_job_def()
    return found


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def create(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    arrival: str = ARRIVAL,
    **values: Any,
) -> dg.DagsterRun:
    tags = {PARTITION: arrival, **values.pop("tags", {})}
    return instance.create_run_for_job(job, tags=tags, status=status, **values)


def failed(instance: dg.DagsterInstance, job: dg.JobDefinition, **tags: str) -> dg.DagsterRun:
    """A run whose process ended before any of its steps failed."""
    run = create(instance, job, tags=tags)
    instance.report_run_failed(run)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def test_runs_are_found_by_arrival_newest_first(
    instance: dg.DagsterInstance, jobs: Mapping[str, dg.JobDefinition]
) -> None:
    first, second = (create(instance, jobs["ingest"]) for _ in range(2))
    other = create(instance, jobs["ingest"], arrival="20261127T000000Z-002")
    found = runs_of(instance, Names(), [ARRIVAL, other.tags[PARTITION], "20261127T000000Z-003"])
    assert {arrival: [run.run_id for run in runs] for arrival, runs in found.items()} == {
        ARRIVAL: [second.run_id, first.run_id],
        other.tags[PARTITION]: [other.run_id],
    }
    assert runs_of(instance, Names(), []) == {}


def test_a_run_of_another_pipeline_with_the_same_arrival_is_not_ours(
    instance: dg.DagsterInstance, jobs: Mapping[str, dg.JobDefinition]
) -> None:
    ours, theirs = create(instance, jobs["ingest"]), create(instance, jobs["law_ingest"])
    for names, run in ((Names(), ours), (Names("law"), theirs)):
        (of_arrival,) = runs_of(instance, names, [ARRIVAL]).values()
        assert [found.run_id for found in of_arrival] == [run.run_id]


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_the_ui_starts_is_known_by_its_assets(
    instance: dg.DagsterInstance, jobs: Mapping[str, dg.JobDefinition], stage: str
) -> None:
    run = create(instance, jobs["__ASSET_JOB"], asset_selection=frozenset({dg.AssetKey(stage)}))
    assert is_of(run, Names())
    assert not is_of(run, Names("law"))


# A queued run needs a code location, so it is not created here.
CREATED = [status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.QUEUED]


@pytest.mark.parametrize("status", CREATED, ids=lambda status: status.value)
def test_a_run_is_under_way_until_it_has_ended(
    instance: dg.DagsterInstance, jobs: Mapping[str, dg.JobDefinition], status: dg.DagsterRunStatus
) -> None:
    ended = create(instance, jobs["ingest"], dg.DagsterRunStatus.SUCCESS)
    found = create(instance, jobs["ingest"], status)
    # A managed run is another system's.
    assert is_active([ended, found]) == (not found.is_finished and status is not dg.DagsterRunStatus.MANAGED)
    assert dg.DagsterRunStatus.QUEUED in ACTIVE


def test_an_arrival_without_runs_is_requested_under_its_own_name(instance: dg.DagsterInstance) -> None:
    assert run_keys(instance, {}, ["A2", "A1"], ()) == {"A2": "A2", "A1": "A1"}


def test_a_run_that_died_is_requested_again_a_limited_number_of_times(
    instance: dg.DagsterInstance, jobs: Mapping[str, dg.JobDefinition]
) -> None:
    runs: list[dg.DagsterRun] = []
    for _ in range(TRIES - 1):
        runs.insert(0, failed(instance, jobs["ingest"]))
        assert run_keys(instance, {ARRIVAL: runs}, [ARRIVAL], ()) == {ARRIVAL: f"{ARRIVAL} after {runs[0].run_id}"}
    runs.insert(0, failed(instance, jobs["ingest"]))
    assert run_keys(instance, {ARRIVAL: runs}, [ARRIVAL], ()) == {}
    assert run_keys(instance, {ARRIVAL: runs}, [ARRIVAL], {ARRIVAL}) == {ARRIVAL: f"{ARRIVAL} after {runs[0].run_id}"}


def test_a_run_that_the_instance_tries_again_itself_is_not_requested_too(
    instance: dg.DagsterInstance, jobs: Mapping[str, dg.JobDefinition]
) -> None:
    run = failed(instance, jobs["ingest"], **{WILL_RETRY: "true"})
    assert run_keys(instance, {ARRIVAL: [run]}, [ARRIVAL], ()) == {}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS])
def test_a_run_that_a_person_ended_or_that_succeeded_is_not_requested_again(
    instance: dg.DagsterInstance, jobs: Mapping[str, dg.JobDefinition], status: dg.DagsterRunStatus
) -> None:
    run = create(instance, jobs["ingest"], status)
    assert run_keys(instance, {ARRIVAL: [run]}, [ARRIVAL], ()) == {}


@pytest.mark.parametrize(
    ("error", "interrupted"),
    [(dg.DagsterExecutionInterruptedError(), True), (ValueError("a mistake"), False), (dg.Failure("no key"), False)],
    ids=lambda value: type(value).__name__,
)
def test_a_step_that_was_interrupted_counts_as_died_and_one_with_an_error_does_not(
    instance: dg.DagsterInstance, error: BaseException, interrupted: bool
) -> None:
    @dg.op
    def step() -> None:
        raise error

    @dg.job(executor_def=dg.in_process_executor)
    def ingest() -> None:
        step()

    result = ingest.execute_in_process(instance=instance, raise_on_error=False)
    (event,) = result.get_step_failure_events()
    assert was_interrupted(event) == interrupted
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run_keys(instance, {ARRIVAL: [run]}, [ARRIVAL], ()) == (
        {ARRIVAL: f"{ARRIVAL} after {run.run_id}"} if interrupted else {}
    )


def test_a_limit_of_spending_is_read_from_the_tags() -> None:
    assert spend_until({SPEND_UNTIL: "12.500000"}) == 12.5
    assert spend_until({SPEND_UNTIL: "0.000000"}) == 0.0
    assert spend_until({"dagster/partition": "A1"}) is None
