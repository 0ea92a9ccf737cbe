"""What the whole costs at several sizes: the first load by stage, changes, a tick, `status`, searches, memory and disk.

    python benchmarks/scale.py [--chunks 10000 100000] [--repeats 3] [--keep FOLDER]
    python benchmarks/scale.py --only-load --chunks 400 --model multilingual-e5-small-q4

Each size has a home of its own with an embedded server and the embedded model. Commands run as a user runs them, in
processes of their own. Their time includes the start of Python; memory is the peak of the largest process. Ticks and
searches run in this process. A file has 20 paragraphs of 50 to 110 words, drawn by Zipf's law from 50,000 made-up words,
and each paragraph is a chunk. "The model alone" embeds some of the paragraphs on all processors, and nothing else.
Prints the tables of docs/benchmarks/scale.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import psutil

from vector_pipeline import Corpus, Names, Settings, build_definitions
from vector_pipeline.embedding.providers.embedded import embedded_model
from vector_pipeline.local.instance import open_instance
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import EMBEDDED_MODELS, available_processors
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.manifest import source_key
from vector_pipeline.store.search.hybrid import Mode

CHUNKS_PER_FILE = 20
FILES_PER_FOLDER = 1_000
VOCABULARY = 50_000
SEED = 7
QUESTIONS = 100
WATCHED_EDITS = 20
REQUEST = 150
"""Paragraphs that the model gets at once: about as many as in a request of a load."""
MOST_ALONE = 20_000
GIVE_UP_SECONDS = 120.0
FOUND = (
    "SELECT FROM document_chunks WHERE id IN (SELECT id FROM chunks WHERE source_key = %s) AND page_content = %s "
    "AND embedding IS NOT NULL"
)
MODES: tuple[Mode, ...] = ("words", "meaning", "hybrid")
COMMAND = str(Path(sys.executable).with_name("vector-pipeline"))

# Tables by what they are for; the rest of the schema is "other".
PARTS = {
    "text (chunks, with b-trees)": "relname LIKE 'chunk%' OR relname = 'unreferenced_hashes'",
    "words (lexical index)": "relname LIKE 'lexical%'",
    "vectors (with HNSW)": "relname LIKE 'vectors%' OR relname LIKE 'space%' OR relname LIKE 'embedding%'",
    "manifest": "relname IN ('source_files', 'arrivals')",
}


@dataclass(slots=True)
class Row:
    """The figures of one size."""

    chunks: int
    figures: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, figure: str) -> None:
        """Keep a figure, and print it at once: a large size takes hours."""
        self.figures[name] = figure
        print(f"{self.chunks:,} chunks: {name}: {figure}", file=sys.stderr, flush=True)

    def add_all(self, figures: Mapping[str, str]) -> None:
        """Keep several figures."""
        for name, figure in figures.items():
            self.add(name, figure)


class Writer:
    """Makes paragraphs of made-up words."""

    def __init__(self, draw: int) -> None:
        self._random = np.random.default_rng(SEED)
        letters = self._random.integers(0, 26, (VOCABULARY, 9)).astype(np.uint8) + ord("a")
        self.words = [row[: 3 + i % 7].tobytes().decode() for i, row in enumerate(letters)]
        weights = 1 / (np.arange(VOCABULARY) + 2.7)
        self._cumulative = np.cumsum(weights / weights.sum())
        self._random = np.random.default_rng((SEED, draw))

    def paragraph(self) -> str:
        """A paragraph that no other is equal to."""
        drawn = np.searchsorted(self._cumulative, self._random.random(int(self._random.integers(50, 111))))
        return " ".join(self.words[place] for place in drawn)

    def question(self) -> str:
        """A question of six words, common ones and rare ones."""
        drawn = np.searchsorted(self._cumulative, self._random.random(6))
        return " ".join(self.words[place] for place in drawn)


class Peak:
    """The largest resident memory of one process of the commands."""

    def __init__(self) -> None:
        self.bytes = 0

    @contextmanager
    def watched(self, process: psutil.Popen) -> Iterator[None]:
        """Watch a process and its children while the block lasts."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.2):
                try:
                    for found in (process, *process.children(recursive=True)):
                        self.bytes = max(self.bytes, found.memory_info().rss)
                except psutil.Error:
                    continue

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


class Corpora:
    """One home, and the commands that are run in it."""

    def __init__(self, place: Path, chunks: int, model: str) -> None:
        self.folder, self.home = place / "texts", place / "home"
        self.is_new = not self.folder.exists()
        self.writer = Writer(0 if self.is_new else time.time_ns())
        self.peak = Peak()
        self.files = chunks // CHUNKS_PER_FILE
        self.settings = Settings.of(home=self.home, source=str(self.folder), chunk_strategy="paragraph", model=model)
        for number in range(self.files if self.is_new else 0):
            path = self.path(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n\n".join(self.writer.paragraph() for _ in range(CHUNKS_PER_FILE)))

    def path(self, number: int) -> Path:
        """The file with a number."""
        return self.folder / f"{number // FILES_PER_FOLDER:04}" / f"{number:07}.txt"

    @contextmanager
    def started(self, *arguments: str) -> Iterator[psutil.Popen]:
        """A command as a process, with its memory watched; it is interrupted if it still runs at the end."""
        environment = os.environ | {
            "VECTOR_PIPELINE_HOME": str(self.home),
            "VECTOR_PIPELINE_SOURCE": str(self.folder),
            "VECTOR_PIPELINE_CHUNK_STRATEGY": "paragraph",
            "VECTOR_PIPELINE_MODEL": self.settings.model,
        }
        process = psutil.Popen([COMMAND, *arguments, "--json"], env=environment, stdout=subprocess.PIPE)
        with self.peak.watched(process):
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    process.communicate(timeout=60)

    def run(self, *arguments: str) -> tuple[float, dict[str, Any]]:
        """Run a command; returns the seconds and what it printed as JSON."""
        began = time.perf_counter()
        with self.started(*arguments) as process:
            output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}: {output.decode()}")
        return time.perf_counter() - began, json.loads(output)


def stage_seconds(settings: Settings) -> dict[str, float]:
    """Seconds of each asset over all runs, and of the checks together."""
    assets = {key.to_python_identifier() for key in Names().assets}
    seconds: defaultdict[str, float] = defaultdict(float)
    with open_instance(settings) as instance:
        for run in instance.get_runs():
            for step in instance.get_run_step_stats(run.run_id):
                if step.start_time and step.end_time:
                    seconds[step.step_key if step.step_key in assets else "checks"] += step.end_time - step.start_time
    return dict(seconds)


def tick_seconds(settings: Settings) -> float:
    """A tick of the sensor that finds nothing."""
    with open_pipeline(settings) as pipeline, open_instance(settings) as instance:
        sensor = build_definitions(settings, opened=pipeline).resolve_sensor_def("source_files_sensor")
        cursor = None
        for _ in range(2):  # the first reports to the UI
            began = time.perf_counter()
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                found = sensor(context)
            seconds = time.perf_counter() - began
            cursor = getattr(found, "cursor", None) or cursor
        return seconds


def watch_seconds(corpora: Corpora, connection: Connection, edits: int) -> Iterator[float]:
    """Yield the seconds from the write of a file until the view has its new paragraph, under `ingest --watch`."""
    with corpora.started("ingest", "--watch"):
        edited(corpora, connection, 100)  # this one is found once the command watches
        for number in range(edits):
            time.sleep(number % 5)  # with and without the maintenance that follows a few quiet seconds
            yield edited(corpora, connection, 101 + number)


def edited(corpora: Corpora, connection: Connection, number: int) -> float:
    """Edit a file; returns the seconds until the view has its new paragraph with a vector."""
    path = corpora.path(number)
    paragraph = edit(corpora, number)
    began = time.perf_counter()
    key = source_key(str(corpora.folder), path.relative_to(corpora.folder).as_posix())
    while connection.execute(FOUND, (key, paragraph)).fetchone() is None:
        time.sleep(0.01)
        if time.perf_counter() - began > GIVE_UP_SECONDS:
            raise SystemExit(f"an edit was not found within {GIVE_UP_SECONDS:.0f} s")
    return time.perf_counter() - began


def search_times(settings: Settings, questions: Sequence[str]) -> dict[str, str]:
    """The p50 and p95 in milliseconds of searches, by mode."""
    found = {}
    with Corpus.open(settings) as corpus:
        for mode in MODES:
            corpus.search(questions[0], mode=mode)
            times = []
            for question in questions:
                began = time.perf_counter()
                corpus.search(question, k=10, mode=mode)
                times.append((time.perf_counter() - began) * 1_000)
            p50, p95 = np.percentile(times, (50, 95))
            found[f"search by {mode}, p50 / p95 ms"] = f"{p50:.1f} / {p95:.1f}"
    return found


def sizes(connection: Connection, settings: Settings) -> dict[str, str]:
    """MiB on disk by part, and of the text itself."""
    total = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) / 1048576.0 FROM pg_class "
    own = f"WHERE relkind = 'r' AND relnamespace = '{settings.db_schema}'::regnamespace AND "
    found = {}
    for name, condition in {**PARTS, "other": " AND ".join(f"NOT ({part})" for part in PARTS.values())}.items():
        row = connection.execute(f"{total} {own} ({condition})".encode()).fetchone()
        assert row is not None
        found[f"disk: {name}, MiB"] = f"{row[0]:,.0f}"
    row = connection.execute("SELECT sum(octet_length(page_content)) / 1048576.0 FROM chunks").fetchone()
    assert row is not None
    found["the text itself, MiB"] = f"{row[0]:,.0f}"
    for name in ("dagster", "stages"):
        size = sum(path.stat().st_size for path in (settings.home / name).rglob("*") if path.is_file())
        found[f"disk: {name} folder, MiB"] = f"{size / 2**20:,.0f}"
    return found


@contextmanager
def place_of(chunks: int, keep: Path | None) -> Iterator[Path]:
    """A folder for one size: of `keep` if it is given, otherwise one that is removed at the end."""
    if keep is not None:
        place = keep / f"{chunks}"
        place.mkdir(parents=True, exist_ok=True)
        yield place
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)  # under root the embedded server belongs to another user
        yield place


def model_speed(corpora: Corpora, chunks: int) -> float:
    """Paragraphs a second that the model embeds on all processors, without anything around it."""
    model = embedded_model(corpora.settings.model)
    texts = [corpora.writer.paragraph() for _ in range(chunks)]
    model.embed(texts[:1])
    began = time.perf_counter()
    with ThreadPoolExecutor(available_processors()) as threads:
        list(threads.map(model.embed, (texts[at : at + REQUEST] for at in range(0, chunks, REQUEST))))
    return chunks / (time.perf_counter() - began)


def measure(chunks: int, model: str, repeats: int, keep: Path | None, *, only_load: bool) -> Row:
    """All figures of one size."""
    row = Row(chunks)
    with place_of(chunks, keep) as place:
        corpora = Corpora(place, chunks, model)
        # Between commands the server stays, as it does while `dev` or a service uses it.
        with open_pipeline(corpora.settings) as pipeline:
            if corpora.is_new:
                measure_load(row, corpora)
            if only_load:
                row.add("peak memory of a process, MiB", f"{corpora.peak.bytes / 2**20:,.0f}")
                return row
            measure_changes(row, corpora, repeats)
            row.add("a tick, s", f"{tick_seconds(corpora.settings):.2f}")
            questions = [corpora.writer.question() for _ in range(QUESTIONS)]
            row.add_all(search_times(corpora.settings, questions))
            with pipeline.database.connect() as connection:
                times = list(watch_seconds(corpora, connection, WATCHED_EDITS))
                p50, p95 = np.percentile(times, (50, 95))
                row.add("an edit under `--watch`, p50 / p95 s", f"{p50:.2f} / {p95:.2f}")
                row.add_all(sizes(connection, corpora.settings))
        row.add("peak memory of a process, MiB", f"{corpora.peak.bytes / 2**20:,.0f}")
    return row


def measure_load(row: Row, corpora: Corpora) -> None:
    """The first load, by stage."""
    seconds, report = corpora.run("ingest")
    row.add("first load, s", f"{seconds:.1f}")
    rate, alone = report["chunks"] / seconds, model_speed(corpora, min(corpora.files * CHUNKS_PER_FILE, MOST_ALONE))
    row.add("first load, chunks a second", f"{rate:,.0f}")
    row.add("the model alone, chunks a second", f"{alone:,.0f}")
    row.add("first load, of the model's own speed", f"{rate / alone:.2f}")
    for stage, spent in stage_seconds(corpora.settings).items():
        row.add(f"of it {stage}, s", f"{spent:.1f}")


def measure_changes(row: Row, corpora: Corpora, repeats: int) -> None:
    """The medians of runs that change little or nothing."""

    def repeated(action: Callable[[int], object], *arguments: str) -> str:
        times = []
        for number in range(repeats):
            action(number)
            times.append(corpora.run(*arguments)[0])
        return f"{statistics.median(times):.2f}"

    row.add("nothing changed, s", repeated(lambda _: None, "ingest"))
    row.add("one paragraph edited, s", repeated(lambda number: edit(corpora, number), "ingest"))
    row.add("one file deleted, s", repeated(lambda _: delete(corpora), "ingest"))
    row.add("`status`, s", repeated(lambda _: None, "status"))


def edit(corpora: Corpora, number: int) -> str:
    """Replace one paragraph of a file; returns the new one."""
    path = corpora.path(number)
    paragraphs = path.read_text().split("\n\n")
    paragraphs[number % CHUNKS_PER_FILE] = paragraph = corpora.writer.paragraph()
    path.write_text("\n\n".join(paragraphs))
    return paragraph


def delete(corpora: Corpora) -> None:
    """Remove the last file that is left."""
    max(corpora.folder.rglob("*.txt")).unlink()


def main() -> None:
    """Measure each size and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="keep each size's home and texts in FOLDER; a size that is there is not loaded again",
    )
    parser.add_argument("--model", choices=EMBEDDED_MODELS, default=EMBEDDED_MODELS[0])
    parser.add_argument("--only-load", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("dagster").setLevel(logging.WARNING)
    rows = [
        measure(chunks, arguments.model, arguments.repeats, arguments.keep, only_load=arguments.only_load)
        for chunks in arguments.chunks
    ]
    print(f"| | {' | '.join(f'{row.chunks:,} chunks' for row in rows)} |")
    print(f"| --- | {' | '.join('---:' for _ in rows)} |")
    for name in dict.fromkeys(name for row in rows for name in row.figures):
        print(f"| {name} | {' | '.join(row.figures.get(name, '') for row in rows)} |")


if __name__ == "__main__":
    main()
