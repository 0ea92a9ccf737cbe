"""The resources of runs: the sources that can be opened, and the database with the locks of the run.

Dagster evaluates the annotation of a context at once, so they are not postponed here.
"""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vector_pipeline.defs.names import Names
from vector_pipeline.defs.opening import Opening
from vector_pipeline.defs.resources import NoSource, PostgresResource, SourceResource, postgres_resource, source_resource
from vector_pipeline.errors import ConfigurationError, SourceError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.settings import Settings
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.scan import scan
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.failed_arrivals import failed_arrivals
from vector_pipeline.store.locks import alive, in_progress
from vector_pipeline.store.run_locks import RunLocks
from vector_pipeline_tests.support.corpus import own
from vector_pipeline_tests.support.dev import wait_for


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(role="test") as connection:
        yield connection


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("one", "other")]
    for folder in found:
        folder.mkdir()
        (folder / "a.txt").write_text("A text.")
    return found


def roots(resource: SourceResource, connection: Connection) -> list[str]:
    return [source.root for source in resource.open(connection).sources]


def test_without_any_source_the_error_says_how_to_name_one(connection: Connection) -> None:
    with pytest.raises(NoSource, match="VECTOR_PIPELINE_SOURCE is not set and nothing was ingested yet"):
        SourceResource([]).open(connection)


def test_sources_of_the_settings_are_opened_also_before_their_first_scan(
    connection: Connection, folders: list[Path]
) -> None:
    assert roots(SourceResource(list(map(str, folders))), connection) == list(map(str, folders))


def test_a_source_that_is_away_stops_no_other_and_is_reported(connection: Connection, folders: list[Path]) -> None:
    away = str(folders[0].with_name("away"))
    found = SourceResource([away, str(folders[1])]).open(connection)
    assert [source.root for source in found.sources] == [str(folders[1])]
    with pytest.raises(SourceError, match=f"source '{away}' does not exist"):
        found.require_all()
    with pytest.raises(ConfigurationError, match="does not exist"):
        SourceResource([away]).open(connection)


def test_without_settings_all_that_was_ingested_is_opened_but_what_is_gone(
    database: Database, connection: Connection, folders: list[Path]
) -> None:
    for folder in folders:
        scan(database, open_source(str(folder)), ScanOptions())
    resource = SourceResource([])
    assert roots(resource, connection) == list(map(str, folders))
    shutil.rmtree(folders[0])
    assert roots(resource, connection) == [str(folders[1])]
    shutil.rmtree(folders[1])
    with pytest.raises(SourceError, match="is not on this machine any more"):
        resource.open(connection)


def test_the_description_of_the_source_names_it(tmp_path: Path) -> None:
    assert "s3://texts" in (source_resource(Settings.of(home=tmp_path, source="s3://texts")).description or "")
    assert "ingested before" in (source_resource(Settings.of(home=tmp_path)).description or "")


@dg.op(required_resource_keys={"postgres"})
def look(context: dg.OpExecutionContext) -> None:
    """Look whether the run is alive for other processes."""
    postgres: PostgresResource = context.resources.postgres
    with postgres.pipeline.database.connect(role="another process") as connection:
        assert alive(connection, [context.run_id], settle_seconds=0.0) == {context.run_id}


def job(opening: Opening) -> dg.JobDefinition:
    @dg.job(resource_defs={"postgres": postgres_resource(opening)}, executor_def=dg.in_process_executor)
    def looking() -> None:
        look()

    return looking


@pytest.mark.parametrize("held", [True, False])
def test_a_run_is_alive_in_postgres_while_its_resource_is_open(pipeline: Pipeline, held: bool) -> None:
    opening = Opening(pipeline.settings, pipeline if held else None)
    with dg.DagsterInstance.ephemeral() as instance:
        result = job(opening).execute_in_process(instance=instance)
    with pipeline.database.connect() as connection:
        assert alive(connection, [result.run_id], settle_seconds=0.0) == set()


def test_a_database_that_is_away_fails_the_run_with_one_line(tmp_path: Path) -> None:
    away = Settings.of(home=tmp_path, database_url="postgresql://me:do-not-show@127.0.0.1:9/texts", retry_seconds=0)
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(dg.DagsterResourceFunctionError) as failed:
        job(Opening(away)).execute_in_process(instance=instance)
    reason = failed.value.user_exception
    assert isinstance(reason, dg.Failure)
    assert "does not answer" in (reason.description or "")
    assert "do-not-show" not in str(reason.description) + str(reason.metadata)
    assert reason.allow_retries


@pytest.fixture
def context(pipeline: Pipeline) -> Iterator[dg.AssetExecutionContext]:
    with dg.build_asset_context() as found:
        yield found


def test_an_arrival_that_is_held_is_written_by_its_owner_until_another_run_takes_it_over(
    pipeline: Pipeline, context: dg.AssetExecutionContext
) -> None:
    with pipeline.database.connect() as connection, RunLocks(pipeline.database, "first") as locks:
        own(connection, "A1", ["a.txt"])
        first = PostgresResource(pipeline, locks)
        assert first.hold(context, "A1") is False
        assert in_progress(connection, ["A1"]) == {"A1"}
        locks.close()
        with RunLocks(pipeline.database, "second") as others:
            others.hold_arrival("A1")
            first.note("A1", "of the run that was replaced", "other", "first")
            assert failed_arrivals(connection) == []
        PostgresResource(pipeline, others).note("A1", "of a connection that owns nothing", "other", "third")
        assert [found.error for found in failed_arrivals(connection)] == ["of a connection that owns nothing"]


@pytest.mark.parametrize("pending", [True, False])
def test_a_run_that_waited_for_another_knows_whether_anything_is_left(
    pipeline: Pipeline, context: dg.AssetExecutionContext, pending: bool
) -> None:
    with pipeline.database.connect() as connection, RunLocks(pipeline.database, "second") as locks:
        own(connection, "A1", ["a.txt"])
        first = RunLocks(pipeline.database, "first")
        first.hold_arrival("A1")
        second = PostgresResource(pipeline, locks)
        done: list[bool] = []
        thread = threading.Thread(target=lambda: done.append(second.hold(context, "A1")))
        thread.start()
        wait_for(lambda: _waits(connection), 20)
        if not pending:
            connection.execute("UPDATE source_files SET status = 'loaded'")
        first.close()
        thread.join(20)
    assert done == [not pending]


def _waits(connection: Connection) -> bool:
    """Whether the second run has looked at the lock, which the first one holds."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'vector_pipeline second' AND query LIKE '%pg_try_advisory_lock%'"
    )
    return connection.execute(query.encode()).fetchone() == (1,)


def test_a_noted_failure_counts_the_files_and_says_nothing_where_the_database_is_away(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    with pipeline.database.connect() as connection, RunLocks(pipeline.database, "run") as locks:
        own(connection, "A1", ["a.txt", "b.txt"])
        resource = PostgresResource(pipeline, locks)
        counts = resource.note("A1", "it went wrong", "passing", "run 1")
        assert {name: value.value for name, value in counts.items()} == {
            "files_loaded": 0,
            "files_pending": 2,
            "files_rejected": 0,
        }
        (failed,) = failed_arrivals(connection)
        assert (failed.failure, failed.failed_run) == ("passing", "run 1")
        assert {f.error for f in manifest.files_with_status(connection, "pending")} == {"it went wrong"}
        away = Database("postgresql://nobody@127.0.0.1:9/texts", retry_seconds=0.0)
        assert PostgresResource(Pipeline(pipeline.settings, away), locks).note("A1", "x", "other", "run 2") == {}


def test_names_of_resources_carry_the_prefix_of_the_pipeline() -> None:
    assert Names("law").resources == ["law_postgres", "law_source", "law_openai", "law_stages"]
