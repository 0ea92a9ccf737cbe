"""What a person may do to a folder between two ingests, and what each of it costs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from vector_pipeline.defs.assets import vector_index
from vector_pipeline.embedding.providers.wordllama import WordLlamaModel
from vector_pipeline.local.ingest import ingest
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.queries.search import search
from vector_pipeline.queries.status import read_status
from vector_pipeline.settings import Settings
from vector_pipeline.store.index import maintain_index
from vector_pipeline_tests.support.pipelines import Ingest

PARAGRAPHS = [f"Paragraph {n} speaks of subject {n * 7919} and of nothing else at all. " * 12 for n in range(12)]


def _write(path: Path, paragraphs: list[str]) -> None:
    path.write_text("\n\n".join(paragraphs))


def _rows(pipeline: Pipeline) -> dict[str, tuple[object, ...]]:
    with pipeline.database.connect() as connection:
        rows = connection.execute("SELECT id, created_at, updated_at, page_content FROM chunks").fetchall()
    return {str(row[0]): tuple(row[1:]) for row in rows}


def _vectors(pipeline: Pipeline) -> int:
    return sum(space["vectors"] for space in read_status(pipeline)["spaces"])


def test_a_folder_is_loaded_and_found(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    report = run(corpus)
    assert (report.loaded, report.rejected, report.pending, report.failures) == (3, {}, 0, [])
    assert report.rows == report.chunks == report.embedded > 0
    assert search(pipeline, "배추 김치", 1)[0].source == "김치.txt"
    assert search(pipeline, "baking bread", 1)[0].source == "bread.md"


def test_of_several_folders_one_that_is_not_there_stops_no_other(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "bees.txt").write_text("Bees sleep in winter.")
    report = ingest(pipeline, [str(corpus), "/mnt/away", str(more)], instance=instance)
    assert (report.loaded, len(report.failures)) == (4, 1)
    assert "'/mnt/away' does not exist" in report.failures[0]
    assert search(pipeline, "bees in winter", 1)[0].root == str(more)


def test_the_ui_is_told_of_a_scan_that_found_something(instance: dg.DagsterInstance, corpus: Path, run: Ingest) -> None:
    run(corpus)
    (corpus / "bees.txt").write_text("Bees sleep in winter.")
    for _ in range(2):  # the second finds nothing
        run(corpus)
    scans = instance.fetch_materializations(dg.AssetKey("source_files"), limit=10).records
    found = [record.asset_materialization for record in scans]
    metadata = [scan.metadata for scan in reversed(found) if scan is not None]
    assert [(m["new"].value, m["changed"].value, m["unchanged"].value) for m in metadata] == [(3, 0, 0), (0, 1, 2)]
    assert metadata[0]["files_pending"].value == 3


def test_running_again_reads_embeds_and_writes_nothing(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    run(corpus)
    before = _rows(pipeline)
    report = run(corpus)
    assert (report.arrivals, report.unchanged, report.requests) == (0, 3, 0)
    assert _rows(pipeline) == before


def test_touching_everything_writes_nothing(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    run(corpus)
    before = _rows(pipeline)
    for path in corpus.iterdir():
        os.utime(path, (1, 1))
    report = run(corpus)
    assert (report.arrivals, report.unchanged) == (0, 3)
    assert _rows(pipeline) == before


def test_one_changed_paragraph_embeds_one_chunk(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    path = corpus / "long.txt"
    _write(path, PARAGRAPHS)
    run(corpus)
    before = _rows(pipeline)
    _write(path, [*PARAGRAPHS[:5], PARAGRAPHS[5].replace("nothing", "everything"), *PARAGRAPHS[6:]])
    report = run(corpus)
    assert (report.arrivals, report.loaded, report.embedded) == (1, 1, 1)
    after = _rows(pipeline)
    assert len(after.keys() - before.keys()) == 1
    assert all(after[key][0] == before[key][0] for key in after.keys() & before.keys())


def test_renaming_a_file_embeds_nothing(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    run(corpus)
    (corpus / "bees.txt").rename(corpus / "벌.txt")
    report = run(corpus)
    assert (report.loaded, report.deleted, report.embedded, report.requests) == (1, 1, 0, 0)
    assert search(pipeline, "honey bees", 1)[0].source == "벌.txt"


def test_deleting_a_file_takes_its_rows_and_leaves_shared_vectors(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    shutil.copy(corpus / "bees.txt", corpus / "copy.txt")
    report = run(corpus)
    assert report.reused > 0
    found = search(pipeline, "honey bees", 10)
    assert {"bees.txt", "copy.txt"} <= {result.source for result in found}
    vectors = _vectors(pipeline)
    (corpus / "bees.txt").unlink()
    report = run(corpus)
    assert report.deleted == 1
    assert _vectors(pipeline) == vectors
    assert search(pipeline, "honey bees", 1)[0].source == "copy.txt"
    (corpus / "bees.txt").write_bytes((corpus / "copy.txt").read_bytes())
    assert run(corpus).requests == 0


def test_another_folder_adds_to_the_first(pipeline: Pipeline, corpus: Path, run: Ingest, tmp_path: Path) -> None:
    run(corpus)
    other = tmp_path / "other"
    other.mkdir()
    (other / "tea.txt").write_text("Green tea wants water of seventy degrees.")
    report = run(other)
    assert (report.loaded, report.deleted) == (1, 0)
    assert read_status(pipeline)["files"]["loaded"] == 4


def test_one_bad_file_does_not_stop_the_others(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    (corpus / "binary.txt").write_bytes(bytes(range(256)) * 8)
    (corpus / "empty.txt").write_bytes(b"")
    (corpus / "broken.jsonl").write_text('{"text": "good"}\n{"text": \n')
    report = run(corpus)
    assert report.loaded == 3
    assert set(report.rejected) == {"binary.txt", "empty.txt", "broken.jsonl"}
    assert "line 2" in report.rejected["broken.jsonl"]
    assert not [result for result in search(pipeline, "good", 10) if result.source == "broken.jsonl"]
    again = run(corpus)
    assert (again.rejected, again.arrivals) == ({}, 0)
    (corpus / "empty.txt").write_text("Not empty any more.")
    assert run(corpus).loaded == 1


def test_a_file_that_breaks_keeps_its_earlier_rows(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    run(corpus)
    (corpus / "bees.txt").write_bytes(b"\x00\x01\x02" * 100)
    assert list(run(corpus).rejected) == ["bees.txt"]
    assert search(pipeline, "honey bees", 1)[0].source == "bees.txt"


def test_links_out_of_the_source_are_not_followed(pipeline: Pipeline, corpus: Path, run: Ingest, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("nobody should find this")
    (corpus / "link.txt").symlink_to(secret)
    (corpus / "loop").symlink_to(corpus)
    report = run(corpus)
    assert report.loaded == 3
    assert {item.path for item in report.scans[0].passed_over} >= {"link.txt"}


def test_an_emptied_source_is_not_taken_for_deletion_unasked(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    for number in range(20):
        (corpus / f"{number}.txt").write_text(f"file number {number}")
    run(corpus)
    for path in corpus.iterdir():
        path.unlink()
    report = run(corpus)
    assert report.deleted == 0
    assert report.failures
    assert read_status(pipeline)["rows"] > 0
    assert run(corpus, confirm_deletions=True).deleted == 23
    assert read_status(pipeline)["rows"] == 0


def test_the_progress_accounts_for_every_file_to_load(
    settings: Settings, corpus: Path, instance: dg.DagsterInstance
) -> None:
    counts: Counter[str] = Counter()

    def advance(what: str, amount: int) -> None:
        counts[what] += amount

    (corpus / "empty.txt").write_text("")
    with open_pipeline(settings, progress=advance) as pipeline:
        ingest(pipeline, [str(corpus)], instance=instance)
        next(path for path in corpus.rglob("*.txt") if path.read_text()).unlink()
        ingest(pipeline, [str(corpus)], instance=instance)
    assert (counts["files rejected"], counts["files deleted"]) == (1, 1)
    assert counts["files to load"] == counts["files loaded"] + 2


def test_changed_chunking_loads_again_and_reuses_what_it_can(
    settings: Settings, corpus: Path, instance: dg.DagsterInstance
) -> None:
    _write(corpus / "long.txt", PARAGRAPHS)
    with open_pipeline(settings) as pipeline:
        before = ingest(pipeline, [str(corpus)], instance=instance)
    smaller = settings.model_copy(update={"chunk_tokens": 100})
    with open_pipeline(smaller) as pipeline:
        after = ingest(pipeline, [str(corpus)], instance=instance)
        assert after.loaded == 4
        assert after.rows > before.rows
        assert after.reused >= 3
        assert ingest(pipeline, [str(corpus)], instance=instance).arrivals == 0


def test_vectors_are_those_of_the_model(pipeline: Pipeline, corpus: Path, run: Ingest) -> None:
    run(corpus)
    with pipeline.database.connect() as connection:
        rows = connection.execute("SELECT page_content, embedding FROM document_chunks").fetchall()
    model = WordLlamaModel()
    expected = model.embed([row[0] for row in rows])
    found = np.array([row[1].to_numpy() for row in rows])
    assert np.allclose(found, expected, atol=1e-6)


def test_files_in_portions_become_several_arrivals(
    settings: Settings, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(25):
        (folder / f"{number:02}.txt").write_text(f"This is the text of file {number}.")
    portions = settings.model_copy(update={"max_files_per_arrival": 10})
    with open_pipeline(portions) as pipeline:
        report = ingest(pipeline, [str(folder)], instance=instance)
    assert (report.arrivals, report.loaded) == (3, 25)
    assert sorted(report.scans[0].arrivals) == report.scans[0].arrivals


def test_a_file_changed_behind_the_scan_waits_for_the_next(
    pipeline: Pipeline, corpus: Path, instance: dg.DagsterInstance, run: Ingest
) -> None:
    from vector_pipeline.sources.opening import open_source
    from vector_pipeline.stages.scan import scan

    scan(pipeline.database, open_source(str(corpus)), pipeline.scan_options("test"))
    time.sleep(0.01)
    (corpus / "bees.txt").write_text("Wasps have taken over the roof.")
    run(corpus)
    assert search(pipeline, "wasps", 1)[0].source == "bees.txt"
    assert read_status(pipeline)["files"] == {"loaded": 3, "pending": 0, "rejected": 0, "deleted": 0}


def test_an_index_that_is_built_says_so(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "maintain_index", partial(maintain_index, worth=2))
    lines: list[str] = []
    ingest(pipeline, [str(corpus)], instance=instance, say=lines.append)
    assert any(line.startswith("building the index of space wordllama_256_256 over ") for line in lines), lines


@pytest.mark.parametrize("run", [1, 2])
def test_an_interruption_between_two_steps_ends_it(
    pipeline: Pipeline, instance: dg.DagsterInstance, corpus: Path, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    """Of an arrival, and of the index: Dagster reports it as a failure of the run and of no step."""
    begun: set[str] = set()
    handle = instance.handle_new_event

    def interrupt(event: dg.EventLogEntry, **options: Any) -> None:
        handle(event, **options)
        happened = event.dagster_event
        if happened is not None and happened.is_engine_event and event.run_id not in begun:
            begun.add(event.run_id)
            if len(begun) == run:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(instance, "handle_new_event", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ingest(pipeline, [str(corpus)], instance=instance)
    assert len(begun) == run
