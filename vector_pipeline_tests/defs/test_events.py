"""A bucket whose events are read by the sensor: it is listed once, and then only what events name is looked at."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.opening import TickLimits
from vector_pipeline.defs.ticks import TickFailed
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.search import search
from vector_pipeline.settings import Settings
from vector_pipeline.store.locks import Lock, try_lock_named
from vector_pipeline_tests.sources.test_events import of_s3
from vector_pipeline_tests.support.object_store import Events, client

pytestmark = pytest.mark.slow

LIMITS = TickLimits(scan_share=1.0)


@pytest.fixture
def events(bucket: str) -> Events:
    put("bees.txt", "Bees make honey.")
    return Events()


@pytest.fixture
def settings(tmp_path: Path, fresh_database_url: str, bucket: str, events: Events) -> Settings:
    return Settings.of(
        home=tmp_path / "home",
        database_url=fresh_database_url,
        source=bucket,
        events_url=events.url,
        context="none",
        quiet_seconds=0.0,
    )


@pytest.fixture
def pipeline(settings: Settings) -> Iterator[Pipeline]:
    with open_pipeline(settings) as opened:
        yield opened


class Sensor:
    """The sensor of a pipeline, and the runs that it requests."""

    def __init__(self, pipeline: Pipeline, instance: dg.DagsterInstance, limits: TickLimits = LIMITS) -> None:
        self.instance = instance
        self.definitions = build_definitions(pipeline.settings, opened=pipeline, ticks=limits)
        self.cursor: str | None = None

    def tick(self) -> tuple[list[dg.RunRequest], str]:
        """The requests of a tick, and its line where it has none."""
        sensor = self.definitions.resolve_sensor_def("source_files_sensor")
        found = sensor(dg.build_sensor_context(instance=self.instance, cursor=self.cursor))
        if isinstance(found, dg.SkipReason):
            return [], found.skip_message or ""
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor
        skipped = found.skip_reason
        line = skipped.skip_message if isinstance(skipped, dg.SkipReason) else skipped
        return list(found.run_requests or []), line or ""

    def run(self, request: dg.RunRequest) -> None:
        job = self.definitions.resolve_job_def(request.job_name or "")
        done = job.execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            run_config=request.run_config or None,
            tags=dict(request.tags),
        )
        assert done.success

    def settle(self) -> list[str]:
        """Run what ticks request until they request nothing; returns the jobs."""
        jobs = []
        while requests := self.tick()[0]:
            for request in requests:
                jobs.append(request.job_name or "")
                self.run(request)
        return jobs


@pytest.fixture
def sensor(pipeline: Pipeline, instance: dg.DagsterInstance) -> Sensor:
    return Sensor(pipeline, instance)


def put(key: str, text: str) -> None:
    client("s3").put_object(Bucket="texts", Key=key, Body=text.encode())


def listings(log: pytest.LogCaptureFixture) -> int:
    """The listings of the bucket that the server answered since the last call."""
    found = sum("GET /texts?list-type=2&prefix=&max-keys=1000" in record.getMessage() for record in log.records)
    log.clear()
    return found


def test_a_bucket_is_listed_once_and_then_events_are_enough(
    pipeline: Pipeline, sensor: Sensor, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "werkzeug")
    events.from_s3()
    assert sensor.settle() == ["scan", "ingest"]
    assert listings(caplog) == 1
    put("김치 1.txt", "Kimchi is made of cabbage.")
    put("bees.txt", "Bees make wax.")
    requests, _ = sensor.tick()
    assert [request.job_name for request in requests] == ["ingest"]
    sensor.run(requests[0])
    assert sensor.tick()[0] == []
    client("s3").delete_object(Bucket="texts", Key="bees.txt")
    assert sensor.settle() == ["ingest"]
    assert [result.page_content for result in search(pipeline, "cabbage")] == ["Kimchi is made of cabbage."]
    assert (listings(caplog), events.left) == (0, 0)


def test_a_tick_says_what_it_passed_over(sensor: Sensor, events: Events) -> None:
    sensor.settle()
    events.send("Hello")
    events.send(json.dumps(of_s3("a.txt", bucket="of-another")))
    assert "2 events. Passed over: " in (line := sensor.tick()[1])
    assert "a message that is no JSON: 'Hello'" in line
    assert "'of-another/a.txt', which belongs to no source" in line
    assert events.left == 0


def test_a_tick_reads_a_limited_number_of_messages(
    pipeline: Pipeline, instance: dg.DagsterInstance, events: Events
) -> None:
    sensor = Sensor(pipeline, instance, TickLimits(scan_share=1.0, events_per_tick=3))
    sensor.settle()
    for number in range(5):
        events.send(json.dumps(of_s3(f"{number}.txt")))
    assert sensor.tick()[1].startswith("3 events")
    assert events.left == 2


def test_without_its_queue_ticks_are_red_and_the_night_lists_the_bucket(
    pipeline: Pipeline, sensor: Sensor, events: Events
) -> None:
    sensor.settle()
    events.sqs.delete_queue(QueueUrl=events.url)
    put("new.txt", "A new file.")
    with pytest.raises(TickFailed, match=r"^the queue of VECTOR_PIPELINE_EVENTS_URL '.*' does not exist: [^\n]*$"):
        sensor.tick()
    schedule = sensor.definitions.resolve_schedule_def("backfill_schedule")
    found = schedule(dg.build_schedule_context(instance=sensor.instance))
    assert isinstance(found, list)
    assert [request.partition_key for request in found] == sensor.instance.get_dynamic_partitions("arrivals")[-1:]


def test_a_queue_that_cannot_be_read_stops_no_other_work_of_the_tick(
    pipeline: Pipeline, sensor: Sensor, events: Events
) -> None:
    events.from_s3()
    sensor.settle()
    put("new.txt", "A new file.")
    (request,) = sensor.tick()[0]
    events.sqs.delete_queue(QueueUrl=events.url)
    assert [again.partition_key for again in sensor.tick()[0]] == [request.partition_key]


def test_while_the_bucket_is_listed_events_wait(pipeline: Pipeline, sensor: Sensor, events: Events) -> None:
    sensor.settle()
    events.send(json.dumps(of_s3("bees.txt")))
    with pipeline.database.connect() as connection:
        assert try_lock_named(connection, Lock.SCAN, "s3://texts")
        assert "a scan of s3://texts is under way; events wait" in sensor.tick()[1]
        assert events.left == 1


def test_new_rules_of_what_to_leave_out_lead_to_a_listing(pipeline: Pipeline, sensor: Sensor, events: Events) -> None:
    events.from_s3()
    sensor.settle()
    put(".vectorignore", "bees.txt")
    limits = TickLimits(scan_share=1.0, scan_every_seconds=0.0)
    again = Sensor(pipeline, sensor.instance, limits)
    again.cursor = sensor.cursor
    assert again.settle() == ["scan", "ingest"]
    assert search(pipeline, "honey") == []


def test_beside_a_folder_both_are_kept_in_step(
    settings: Settings, pipeline: Pipeline, instance: dg.DagsterInstance, events: Events, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "tea.txt").write_text("Green tea wants water of seventy degrees.")
    several = settings.model_copy(update={"source": f"s3://texts\n{folder}"})
    sensor = Sensor(Pipeline(several, pipeline.database), instance)
    events.from_s3()
    assert set(sensor.settle()) == {"scan", "ingest"}
    put("new.txt", "A new file.")
    (folder / "more.txt").write_text("Black tea wants boiling water.")
    assert sensor.settle() == ["ingest", "ingest"]
    assert sensor.tick()[1] == "0 events; 2 unchanged"
