"""How long an edit takes from the write of its file until a search finds it, under `ingest --watch`.

    python benchmarks/watch.py [--chunks 10000] [--edits 30]

The command runs as a process of its own on an embedded server. Each edit changes one paragraph of one file, at a random
moment up to some seconds after the edit before was found; it counts as found once the view has its text with its vector,
which a search by its words then confirms. Prints the table of docs/benchmarks/automation.md.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from vector_pipeline.queries.corpus import Corpus
from vector_pipeline.settings import Settings
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.manifest import source_key

PARAGRAPHS = 20
LONGEST_PAUSE_SECONDS = 6.0
GIVE_UP_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.01

FOUND = (
    "SELECT FROM document_chunks WHERE id IN (SELECT id FROM chunks WHERE source_key = %s) AND page_content = %s "
    "AND embedding IS NOT NULL"
)


def paragraphs(number: int) -> list[str]:
    """The paragraphs of a file."""
    return [f"Paragraph {part} of file {number} tells of hive {part * 31 + number}." for part in range(PARAGRAPHS)]


def write(folder: Path, number: int, texts: list[str]) -> Path:
    """Write a file, 1,000 in a folder."""
    path = folder / f"{number // 1_000:03}" / f"{number:06}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(texts))
    return path


def edit(connection: psycopg.Connection[object], corpus: Corpus, folder: Path, number: int, name: str) -> float:
    """Change a paragraph of a file; returns the seconds until it is found."""
    texts = paragraphs(number)
    texts[PARAGRAPHS // 2] = f"The edit called {name} stands here now."
    path = write(folder, number, texts)
    began = time.perf_counter()
    key = source_key(str(folder), path.relative_to(folder).as_posix())
    while connection.execute(FOUND, (key, texts[PARAGRAPHS // 2])).fetchone() is None:
        if time.perf_counter() - began > GIVE_UP_SECONDS:
            raise TimeoutError(f"edit {name} was not found within {GIVE_UP_SECONDS:.0f} s")
        time.sleep(LOOK_EVERY_SECONDS)
    seconds = time.perf_counter() - began
    (found,) = corpus.search(name, k=1, mode="words")
    assert found.page_content == texts[PARAGRAPHS // 2]
    return seconds


def measure(folder: Path, settings: Settings, command: subprocess.Popen[bytes], files: int, edits: int) -> list[float]:
    """The seconds of each edit."""
    assert command.stdout is not None
    began = time.perf_counter()
    command.stdout.readline()
    print(f"first load: {time.perf_counter() - began:.0f} s\n", flush=True)
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    found = []
    with psycopg.connect(url, autocommit=True) as connection, Corpus.open(settings) as corpus:
        for number in range(edits):
            time.sleep(random.uniform(0.0, LONGEST_PAUSE_SECONDS))
            found.append(edit(connection, corpus, folder, random.randrange(files), f"quince{number}x"))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--edits", type=int, default=30)
    arguments = parser.parse_args()
    random.seed(7)
    files = arguments.chunks // PARAGRAPHS
    with tempfile.TemporaryDirectory() as scratch, EmbeddedServer.start(Path(scratch)) as server:
        folder, home = Path(scratch) / "corpus", Path(scratch) / "home"
        for number in range(files):
            write(folder, number, paragraphs(number))
        settings = Settings.of(home=home, database_url=server.url, chunk_strategy="paragraph")
        environment = os.environ | {
            "DATABASE_URL": server.url,
            "VECTOR_PIPELINE_HOME": str(home),
            "VECTOR_PIPELINE_CHUNK_STRATEGY": "paragraph",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "vector_pipeline.cli", "ingest", str(folder), "--watch", "--json"],
            env=environment,
            stdout=subprocess.PIPE,
        ) as command:
            try:
                found = sorted(measure(folder, settings, command, files, arguments.edits))
            finally:
                command.send_signal(signal.SIGINT)
                try:
                    command.communicate(timeout=30)
                finally:
                    command.kill()
    p95 = statistics.quantiles(found, n=20)[-1] if len(found) > 1 else found[0]
    print("| chunks | edits | p50, s | p95, s | longest, s |\n| ---: | ---: | ---: | ---: | ---: |")
    print(f"| {files * PARAGRAPHS:,} | {len(found)} | {statistics.median(found):.2f} | {p95:.2f} | {found[-1]:.2f} |")


if __name__ == "__main__":
    main()
