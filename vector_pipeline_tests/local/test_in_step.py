"""Whatever happens to the files, and in whatever order: after a run the table says what the disk says."""

from __future__ import annotations

import random
import threading
import time
import unicodedata
from pathlib import Path

import dagster as dg
import fsspec
import pytest

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.instance import open_instance
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.compare import compare
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.sources.opening import open_source
from vector_pipeline.store.run_locks import RunLocks
from vector_pipeline_tests.support.dev import wait_for
from vector_pipeline_tests.support.openai_server import ServerConfig, serve
from vector_pipeline_tests.support.pipelines import Ingest

NAMES = (
    "plain.txt",
    "two words.md",
    unicodedata.normalize("NFC", "한글 이름.txt"),
    unicodedata.normalize("NFD", "한글 이름.txt"),
    'it\'s "quoted".txt',
    "new\nline.txt",
    "percent%20and%s.txt",
    "folder/below/file.txt",
    "folder.txt",
    "long " + "n" * 240 + ".txt",
)


def table(pipeline: Pipeline) -> dict[str, str]:
    """What the table holds, by file; each file of these tests is one chunk."""
    with pipeline.database.connect() as connection:
        rows = connection.execute("SELECT source, page_content FROM document_chunks").fetchall()
    assert len(rows) == len(dict(rows))
    return dict(rows)


def disk(folder: Path) -> dict[str, str]:
    """What the disk holds, by file."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.*") if path.is_file()}


def test_after_any_changes_the_table_is_the_disk(pipeline: Pipeline, run: Ingest, tmp_path: Path) -> None:
    draw = random.Random(2)
    folder = tmp_path / "any"
    folder.mkdir()
    (folder / "always.txt").write_text("There from the first.")
    gone: dict[str, str] = {}
    for turn in range(6):
        for _ in range(draw.randint(1, 6)):
            name = draw.choice(NAMES)
            path = folder / name
            what = draw.choice(("write", "write", "delete", "restore", "touch", "rename", "same"))
            if what == "write" or (what == "restore" and name not in gone):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{what} {turn} {draw.random()}")
            elif what == "restore":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(gone.pop(name))
            elif path.exists() and what == "delete":
                gone[name] = path.read_text()
                path.unlink()
            elif path.exists() and what == "touch":
                path.touch()
            elif path.exists() and what == "same":
                path.write_text(path.read_text())
            elif path.exists():
                path.rename(folder / f"renamed {draw.randint(0, 3)}.txt")
        run(folder, confirm_deletions=True)
        assert table(pipeline) == disk(folder)
        assert compare(pipeline.database, open_source(str(folder))).differs == 0
    counts = read_status(pipeline)["files"]
    assert isinstance(counts, dict)
    assert (counts["loaded"], counts["pending"], counts["rejected"]) == (len(disk(folder)), 0, 0)


def test_files_that_change_while_runs_go_on_end_as_the_disk_has_them(
    pipeline: Pipeline, run: Ingest, tmp_path: Path
) -> None:
    """Written, deleted, restored and changed back during scans and their own runs; then once more, in quiet."""
    folder = tmp_path / "busy"
    folder.mkdir()
    (folder / "always.txt").write_text("There from the first.")
    over = threading.Event()

    def disturb() -> None:
        draw = random.Random(3)
        texts = ("As it was first.", "As it is now.", "Otherwise.")
        while not over.wait(draw.random() * 0.02):
            path = folder / draw.choice(NAMES)
            path.parent.mkdir(parents=True, exist_ok=True)
            if draw.random() < 0.3:
                path.unlink(missing_ok=True)
            else:
                path.write_text(draw.choice(texts))

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    reports = [run(folder, confirm_deletions=True) for _ in range(6)]
    over.set()
    disturbing.join()
    assert sum(len(report.scans[0].arrivals) for report in reports) >= 6
    run(folder, confirm_deletions=True)
    assert table(pipeline) == disk(folder)
    assert compare(pipeline.database, open_source(str(folder))).differs == 0
    counts = read_status(pipeline)["files"]
    assert isinstance(counts, dict)
    assert (counts["loaded"], counts["pending"], counts["rejected"]) == (len(disk(folder)), 0, 0)


def test_an_old_arrival_brings_back_no_old_text(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    run(corpus)
    (first,) = instance.get_dynamic_partitions("arrivals")
    (corpus / "bees.txt").write_text("The hives have gone to the heath.")
    run(corpus)
    (corpus / "bread.md").unlink()
    run(corpus)
    before = table(pipeline)
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("ingest")
    assert job.execute_in_process(instance=instance, partition_key=first).success
    assert table(pipeline) == before == disk(corpus)


def test_a_run_that_waited_for_another_does_not_do_its_work_again(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, run: Ingest
) -> None:
    run(corpus)
    (arrival,) = instance.get_dynamic_partitions("arrivals")
    job = build_definitions(pipeline.settings, opened=pipeline).resolve_job_def("ingest")
    held, read = threading.Event(), []

    def other() -> None:
        with RunLocks(pipeline.database, "other run") as locks:
            locks.hold_arrival(arrival)
            held.set()
            wait_for(lambda: any(r.status is dg.DagsterRunStatus.STARTED for r in instance.get_runs(limit=1)), 30)
            time.sleep(1.0)

    for waits in (True, False):
        holding = threading.Thread(target=other)
        if waits:
            holding.start()
            held.wait()
        done = job.execute_in_process(instance=instance, partition_key=arrival)
        (event,) = (e for e in done.get_asset_materialization_events() if e.asset_key == dg.AssetKey("documents"))
        read.append(event.materialization.metadata["files"].value)
        if waits:
            holding.join()
    assert read == [0, 3]
    assert table(pipeline).keys() >= {"bees.txt", "김치.txt"}


def test_a_file_changed_during_its_own_run_ends_as_the_disk_has_it(
    tmp_path: Path, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "changing"
    folder.mkdir()
    (folder / "a.txt").write_text("As it was first.")
    (folder / "b.txt").write_text("It stays as it is.")
    with serve(ServerConfig(latency=1.0)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        settings = Settings.from_environment(home=tmp_path / "home", database_url=fresh_database_url)

        def change() -> None:
            wait_for(lambda: server.seen.requests, 60)
            (folder / "a.txt").write_text("As it is now.")

        with open_pipeline(settings) as pipeline, open_instance(settings) as instance:
            changing = threading.Thread(target=change)
            changing.start()
            ingest(pipeline, [str(folder)], instance=instance)
            changing.join()
            assert table(pipeline)["b.txt"] == "It stays as it is."
            ingest(pipeline, [str(folder)], instance=instance)
            assert table(pipeline) == disk(folder)


def test_a_bucket_is_kept_in_step(pipeline: Pipeline, instance: dg.DagsterInstance, bucket: str) -> None:
    store = fsspec.filesystem("s3")
    store.pipe("texts/in/김치.txt", "배추로 담급니다.".encode())
    store.pipe("texts/in/deep/two words.md", b"Bread and salt.")
    source = f"{bucket}/in"
    assert ingest(pipeline, [source], instance=instance).loaded == 2
    store.pipe("texts/in/김치.txt", "무로 담급니다.".encode())
    store.rm("texts/in/deep/two words.md")
    store.pipe("texts/in/tea.txt", b"Green tea.")
    report = ingest(pipeline, [source], instance=instance)
    assert (report.loaded, report.deleted) == (2, 1)
    assert table(pipeline) == {"김치.txt": "무로 담급니다.", "tea.txt": "Green tea."}
    assert ingest(pipeline, [source], instance=instance).unchanged == 2
