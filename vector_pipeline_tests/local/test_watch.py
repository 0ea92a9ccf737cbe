"""`watch` in this process: what it does for an edit, counted, and how it goes on after an error."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from vector_pipeline.local.instance import open_instance
from vector_pipeline.local.report import IngestReport
from vector_pipeline.local.watch import WatchTimes, watch
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline_tests.support.object_store import Events, client

FILES = 300
# An edit reads the rows of its own file a few times, and a scan of everything those of all files.
ROWS_OF_AN_EDIT = 60


class Enough(Exception):
    """Ends a watch."""


def watch_until_enough(pipeline: Pipeline, folder: Path, done: Callable[[IngestReport], None], **more: object) -> None:
    with pytest.raises(Enough):
        watch(pipeline, [str(folder)], done=done, **more)  # type: ignore[arg-type]


def manifest_rows_read(pipeline: Pipeline) -> int:
    time.sleep(1.2)  # a session reports what it read when it ends, and at most once a second
    with psycopg.connect(pipeline.database.url) as connection:
        row = connection.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'source_files'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def jobs_run(instance: dg.DagsterInstance) -> list[str]:
    return [run.job_name for run in reversed(instance.get_runs())]


@pytest.mark.timeout(300)
def test_an_edit_takes_one_run_that_looks_at_its_file_and_the_index_waits_for_quiet(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number:03}.txt").write_text(f"Note {number}.")
    seen: list[tuple[int, int, list[str]]] = []

    def done(report: IngestReport) -> None:
        with open_instance(pipeline.settings) as instance:
            seen.append((manifest_rows_read(pipeline), report.loaded, jobs_run(instance)))
        if len(seen) < 4:
            (folder / "007.txt").write_text(f"Edit {len(seen)}.")
        elif len(seen) == 5:
            raise Enough

    watch_until_enough(pipeline, folder, done, times=WatchTimes(settle=2.0))
    (_, loaded, jobs), (before, *first), (after, *second), (later, *third), (whole, *settled) = seen
    assert (loaded, jobs) == (FILES, ["ingest", "index"])
    assert first == [1, ["ingest", "index", "ingest"]]
    assert second == [1, ["ingest", "index", "ingest", "ingest"]]
    assert third == [1, ["ingest", "index", "ingest", "ingest", "ingest"]]
    assert settled == [0, ["ingest", "index", "ingest", "ingest", "ingest", "index"]]
    # A session that is idle may report what it read up to ten seconds late, and so in the count of a later edit.
    assert min(after - before, later - after) <= ROWS_OF_AN_EDIT
    assert whole - later >= FILES


@pytest.mark.timeout(120)
def test_after_an_error_the_next_change_is_loaded_at_once(pipeline: Pipeline, corpus: Path) -> None:
    """The times between two scans are longer than the test may take."""
    name = pipeline.database.url.rpartition("/")[2].partition("?")[0]
    reports: list[IngestReport] = []
    lines: list[str] = []

    def set_read_only(value: str) -> None:
        with psycopg.connect(pipeline.database.url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}".encode())

    def done(report: IngestReport) -> None:
        reports.append(report)
        if len(reports) == 1:
            set_read_only("on")
            (corpus / "first.txt").write_text("A file that cannot be loaded yet.")
        elif report.loaded == 2:
            raise Enough

    def say(line: str) -> None:
        lines.append(line)
        if "only reads" in line:
            set_read_only("off")
            (corpus / "second.txt").write_text("A file that can.")

    watch_until_enough(pipeline, corpus, done, say=say, times=WatchTimes(rescan=600.0))
    assert [line for line in lines if "only reads" in line]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_events_of_a_bucket_are_loaded_without_a_listing(
    settings: Settings, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "werkzeug")
    s3, events = client("s3"), Events()
    s3.put_object(Bucket="texts", Key="bees.txt", Body=b"Bees make honey.")
    events.from_s3()
    loaded: list[tuple[int, int]] = []

    def done(report: IngestReport) -> None:
        if report.loaded or report.deleted:
            loaded.append((report.loaded, report.deleted))
        if loaded == [(1, 0)]:
            s3.put_object(Bucket="texts", Key="new.txt", Body=b"A new file.")
            caplog.clear()
        elif loaded == [(1, 0), (1, 0)]:
            s3.delete_object(Bucket="texts", Key="bees.txt")
        elif len(loaded) == 3:
            raise Enough

    settings = settings.model_copy(update={"source": bucket, "events_url": events.url})
    times = WatchTimes(poll=600.0, rescan=600.0, settle=600.0, events=1)
    events.send("Hello")
    lines: list[str] = []
    with open_pipeline(settings) as pipeline, pytest.raises(Enough):
        watch(pipeline, [bucket], done=done, say=lines.append, times=times)
    # Only what a person may want to look at.
    assert len([line for line in lines if "a message that is no JSON: 'Hello'" in line]) == 1
    assert len(lines) == 2
    assert loaded == [(1, 0), (1, 0), (0, 1)]
    assert not [record for record in caplog.records if "list-type=2&prefix=&max-keys=1000" in record.getMessage()]
    assert events.left == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_queue_that_is_gone_is_named_once_and_the_watch_goes_on(settings: Settings, bucket: str) -> None:
    client("s3").put_object(Bucket="texts", Key="bees.txt", Body=b"Bees make honey.")
    events = Events()
    events.sqs.delete_queue(QueueUrl=events.url)
    lines: list[str] = []

    def done(report: IngestReport) -> None:
        assert not report.failures
        if len([line for line in lines if "does not exist" in line]) == 1 and len(seen) > 3:
            raise Enough
        seen.append(report)

    seen: list[IngestReport] = []
    settings = settings.model_copy(update={"source": bucket, "events_url": events.url})
    times = WatchTimes(poll=0.5, rescan=0.5, settle=0.5, events=1)
    with open_pipeline(settings) as pipeline, pytest.raises(Enough):
        watch(pipeline, [bucket], done=done, say=lines.append, times=times)
    assert seen[0].loaded == 1
