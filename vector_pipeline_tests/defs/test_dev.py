"""`vector-pipeline dev` as a person uses it: the real webserver and daemon, on a real database."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from vector_pipeline_tests.support.dev import STAGES, running_dev, wait_for
from vector_pipeline_tests.support.openai_server import ServerConfig, serve

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def environment(tmp_path: Path, fresh_database_url: str) -> dict[str, str]:
    (tmp_path / "corpus").mkdir()
    return {
        "DATABASE_URL": fresh_database_url,
        "VECTOR_PIPELINE_HOME": str(tmp_path / "home"),
        "VECTOR_PIPELINE_SOURCE": str(tmp_path / "corpus"),
        "VECTOR_PIPELINE_QUIET_SECONDS": "0",
    }


def write(path: Path, text: str) -> None:
    """A file that has long been there."""
    path.write_text(text)
    os.utime(path, (1, 1))


def test_files_are_kept_in_step_and_the_ui_materializes_and_backfills(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    corpus = tmp_path / "corpus"
    write(corpus / "bees.txt", "Bees make honey on the roof.")
    write(corpus / "김치.txt", "김치는 두 주가 지나면 잘 익습니다.")
    with running_dev(tmp_path / "dev.log", environment) as dev:
        assets = dev.assets()
        assert set(assets) == {"source_files", *STAGES, "vector_index"}
        assert all(node["description"] and node["kinds"] for node in assets.values())
        running = {name for name, state in dev.sensors().items() if state["status"] == "RUNNING"}
        assert running >= {"source_files_sensor", "vector_index_automation"}

        # By hand, from the UI.
        assert dev.finished(dev.materialize("source_files")) == "SUCCESS"
        arrival = wait_for(dev.arrivals, 30)[0]
        assert dev.finished(dev.materialize(*STAGES, partition=arrival)) == "SUCCESS"
        assert dev.command("search", "honey", "-k", "1")["results"][0]["source"] == "bees.txt"

        # The sensor does the rest by itself: new, changed and deleted.
        (corpus / "tea.txt").write_text("Green tea wants water of seventy degrees.")
        (corpus / "bees.txt").write_text("The hives have gone to the heath.")
        (corpus / "김치.txt").unlink()
        wait_for(lambda: dev.command("status")["files"] == _files(loaded=2, deleted=1), 150)
        assert dev.command("search", "green tea", "-k", "1")["results"][0]["source"] == "tea.txt"
        texts = {result["page_content"] for result in dev.command("search", "bees", "-k", "9")["results"]}
        assert texts == {"Green tea wants water of seventy degrees.", "The hives have gone to the heath."}

        # What somebody broke by hand, a backfill over all arrivals brings back.
        with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("DELETE FROM chunks")
        assert dev.backfill(dev.arrivals()) == "COMPLETED_SUCCESS"
        assert dev.command("status")["rows"] == 2
        assert dev.command("search", "green tea", "-k", "1")["results"][0]["source"] == "tea.txt"


def _files(**counts: int) -> dict[str, int]:
    return {"loaded": 0, "pending": 0, "rejected": 0, "deleted": 0, **counts}


def test_killed_in_the_middle_it_goes_on_and_the_schedule_works_without_the_sensor(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    corpus = tmp_path / "corpus"
    for number in range(20):
        write(corpus / f"{number:02}.txt", f"Note {number}, which says something of its own.")
    one_at_a_time = {
        "OPENAI_API_KEY": "sk-test",
        "VECTOR_PIPELINE_MAX_INPUTS_PER_REQUEST": "1",
        "VECTOR_PIPELINE_MAX_IN_FLIGHT": "1",
        "VECTOR_PIPELINE_BACKFILL_CRON": "* * * * *",
    }
    with serve(ServerConfig(latency=0.5)) as server:
        environment |= one_at_a_time | {"OPENAI_BASE_URL": server.url}
        with running_dev(tmp_path / "dev.log", environment) as dev:
            wait_for(lambda: server.seen.requests >= 5, 90)
            dev.kill()
        assert server.seen.requests < 20

        with running_dev(tmp_path / "dev.log", environment) as dev:
            wait_for(lambda: dev.loaded() == 20, 120)
            assert dev.command("status")["rows"] == 20
            # Paid once each, but for the request that was under way when it was killed.
            paid = Counter(server.seen.billed)
            assert len([text for text in paid if text.startswith("Note")]) == 20
            assert sum(paid.values()) <= 21 + _not_notes(paid)
            statuses = Counter(run["status"] for run in dev.runs())
            assert statuses["STARTED"] == statuses["QUEUED"] == 0

            dev.stop_sensor("source_files_sensor")
            write(corpus / "late.txt", "What the schedule finds.")
            wait_for(lambda: dev.loaded() == 21, 150)
            newest = next(run for run in dev.runs() if "dagster/partition" in run["tags"])
            assert newest["tags"]["vector_pipeline/trigger"] == "schedule"


def _not_notes(paid: Counter[str]) -> int:
    return sum(times for text, times in paid.items() if not text.startswith("Note"))
