"""The asset `embeddings`: what it paid for is shown, and loaded, also where it fails or stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.names import STAGES
from vector_pipeline.defs.runs import SPEND_UNTIL
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.store import manifest
from vector_pipeline.store.failed_arrivals import failed_arrivals
from vector_pipeline_tests.support.openai_server import RunningServer, ServerConfig, serve
from vector_pipeline_tests.support.runs import materialize, metadata_of, reason_of, registered, rows_of

EMBEDDED = ("documents", "chunks", "token_batches", "embeddings")


@contextmanager
def opened(settings: Settings, server: RunningServer, **values: Any) -> Iterator[Pipeline]:
    given = settings.model_dump(by_alias=False, exclude_unset=True)
    paid = {"openai_base_url": server.url, "openai_api_key": "sk-test", "max_in_flight": 1}
    with open_pipeline(Settings.of(**{**given, **paid, **values})) as pipeline:
        yield pipeline


def test_what_was_sent_and_paid_is_shown_in_the_names_of_other_integrations_too(
    settings: Settings, instance: dg.DagsterInstance, corpus: Path
) -> None:
    with serve() as server, opened(settings, server) as pipeline:
        found = metadata_of(
            materialize(pipeline, instance, registered(pipeline, instance, corpus), *EMBEDDED), "embeddings"
        )
    assert found["texts"] == found["dagster/partition_row_count"] == sum(server.seen.billed.values())
    assert found["tokens"] == found["openai.total_tokens"] == found["openai.prompt_tokens"] == server.seen.tokens
    assert found["requests"] == found["openai.calls"] == server.seen.requests
    assert found["usd"] == pytest.approx(server.seen.tokens * 0.02 / 1_000_000)
    assert found["model"] == "text-embedding-3-small"
    assert "stopped" not in found
    assert "rejected" not in found


def test_a_failure_shows_what_was_paid_and_the_files_that_are_loaded_all_the_same(
    settings: Settings, instance: dg.DagsterInstance, corpus: Path
) -> None:
    with (
        serve(ServerConfig(quota_after=2)) as server,
        opened(settings, server, max_inputs_per_request=1) as pipeline,
    ):
        arrival = registered(pipeline, instance, corpus)
        result = materialize(pipeline, instance, arrival, *STAGES)
        with pipeline.database.connect() as connection:
            counts = manifest.count_files(connection)
            (failed,) = failed_arrivals(connection)
    assert not result.success
    (event,) = result.get_step_failure_events()
    data = event.step_failure_data.user_failure_data
    assert data is not None
    shown = {name: value.value for name, value in data.metadata.items()}
    assert (event.step_key, shown["kind"], failed.failure) == ("embeddings", "account", "account")
    assert failed.error == reason_of(result)
    assert (shown["texts"], shown["openai.total_tokens"]) == (2, server.seen.tokens)
    # A file whose texts were all paid for is in the table; the others wait.
    assert counts.loaded + counts.pending == 3
    assert 1 <= counts.loaded <= 2
    assert shown["files_loaded"] == counts.loaded
    assert shown["files_pending"] == counts.pending == failed.files


def test_a_refused_text_is_listed_and_the_others_are_embedded(
    settings: Settings, instance: dg.DagsterInstance, corpus: Path
) -> None:
    (corpus / "cursed.txt").write_text("A cursed text.")
    with serve(ServerConfig(bad_word="cursed")) as server, opened(settings, server) as pipeline:
        result = materialize(pipeline, instance, registered(pipeline, instance, corpus), *STAGES)
        with pipeline.database.connect() as connection:
            rejected = [f.path for f in manifest.files_with_status(connection, "rejected")]
            assert manifest.count_files(connection).loaded == 3
    assert result.success
    ((_, outcome, reason),) = rows_of(metadata_of(result, "embeddings")["rejected"])
    assert outcome == "rejected"
    assert "A cursed text." in str(reason)
    assert rejected == ["cursed.txt"]


def test_the_limit_in_the_tags_of_a_run_stops_it_without_an_error(
    settings: Settings, instance: dg.DagsterInstance, corpus: Path
) -> None:
    with serve() as server, opened(settings, server) as pipeline:
        arrival = registered(pipeline, instance, corpus)
        job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("ingest")
        result = job.execute_in_process(instance=instance, partition_key=arrival, tags={SPEND_UNTIL: "0.000000"})
        assert result.success
        found = metadata_of(result, "embeddings")
        assert (found["texts"], server.seen.requests) == (0, 0)
        assert "BACKFILL_MAX_COST_USD" in str(found["stopped"])
        assert metadata_of(result, "document_rows")["files_pending"] == 3
