"""How long a folder of small files takes through Dagster, and how much of that is Dagster's own bookkeeping.

The same files are ingested twice on one embedded server, each time into a schema of its own: once by calling the
stages' functions one after the other, timed stage by stage, and once by `ingest` through Dagster. The difference is
what Dagster takes. Prints a Markdown table, and the peak memory of the process.

    python benchmarks/ingest.py --files 10000
    python benchmarks/ingest.py --files 1000 --chunks-per-file 10
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vector_pipeline.local.ingest import ingest
from vector_pipeline.pipeline.model import client_config, targets
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.chunks import ChunksOutcome, chunk_rows
from vector_pipeline.stages.documents import DocumentsOutcome, read_arrival
from vector_pipeline.stages.embeddings.plan import embed_plan
from vector_pipeline.stages.load import load_chunks
from vector_pipeline.stages.scan import scan
from vector_pipeline.stages.streams import (
    CHUNKS,
    DOCUMENTS,
    TOKEN_BATCHES,
    ChunkRow,
    DocumentRow,
    PlannedText,
    from_reader,
    to_reader,
)
from vector_pipeline.stages.token_batches import PlanOutcome, plan

WORDS = "river stone lamp bread winter engine garden letter 김치 바다 겨울 편지 나무 사람 시간 학교".split()


def make_corpus(folder: Path, files: int, chunks_per_file: int) -> None:
    random.seed(7)
    for number in range(files):
        paragraphs = [
            " ".join(random.choices(WORDS, k=120)) + f" number {number} of {part}." for part in range(chunks_per_file)
        ]
        path = folder / f"{number // 1000:03}" / f"{number:06}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n\n".join(paragraphs))


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the block's time for a stage."""
        began = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - began


def run_stages(pipeline: Pipeline, folder: Path, clock: Clock) -> int:
    """The whole chain without Dagster; returns the number of chunks."""
    with clock.of("source_files"):
        found = scan(pipeline.database, open_source(str(folder)), pipeline.scan_options("benchmark"))
    files = pipeline.stage_files
    tokenizer = pipeline.tokenizer()
    chunks = 0
    for arrival in found.arrivals:
        with clock.of("documents"):
            rows = read_arrival(
                pipeline.database, arrival, pipeline.reader_options, pipeline.reader_limits, DocumentsOutcome()
            )
            files.write("documents", arrival, to_reader(rows, DOCUMENTS))
        outcome = ChunksOutcome()
        with clock.of("chunks"), files.read("documents", arrival) as documents:
            cut = chunk_rows(from_reader(documents, DocumentRow), tokenizer, pipeline.chunking, outcome, threads=2)
            files.write("chunks", arrival, to_reader(cut, CHUNKS))
        chunks += outcome.chunks
        with clock.of("token_batches"), files.read("chunks", arrival) as read:
            with pipeline.database.connect() as connection:
                filled = targets(connection, pipeline.settings)
            planned = plan(
                pipeline.database, from_reader(read, ChunkRow), filled, pipeline.request_limits, PlanOutcome()
            )
            files.write("token_batches", arrival, to_reader(planned, TOKEN_BATCHES))
        with clock.of("embeddings"), files.read("token_batches", arrival) as read:
            embed_plan(pipeline, from_reader(read, PlannedText), client_config(pipeline.settings))
        with clock.of("document_rows"), files.read("chunks", arrival) as read:
            load_chunks(pipeline.database, arrival, from_reader(read, ChunkRow), fingerprint_of=pipeline.fingerprints.of)
    return chunks


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--chunks-per-file", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder, home = Path(place) / "corpus", Path(place) / "home"
        folder.mkdir()
        make_corpus(folder, arguments.files, arguments.chunks_per_file)
        # A paragraph is a chunk of about 400 tokens or fewer, so that --chunks-per-file means what it says.
        plain = Settings.of(home=home, db_schema="plain", storage=f"{place}/plain", chunk_strategy="paragraph")
        clock = Clock()
        with open_pipeline(plain) as pipeline:
            pipeline.client_config.provider.transport()
            chunks = run_stages(pipeline, folder, clock)
        through = Settings.of(home=home, db_schema="dagster", storage=f"{place}/dagster", chunk_strategy="paragraph")
        with open_pipeline(through) as pipeline:
            pipeline.client_config.provider.transport()
            total = timed(lambda: ingest(pipeline, [str(folder)]))
            path = next(folder.rglob("*.txt"))
            path.write_text(path.read_text() + " And one more sentence.")
            changed = timed(lambda: ingest(pipeline, [str(folder)]))
            unchanged = timed(lambda: ingest(pipeline, [str(folder)]))
    alone = sum(clock.seconds.values())
    print(f"\n{arguments.files:,} files, {chunks:,} chunks\n")
    print("| stage | seconds | chunks a second |\n| --- | --- | --- |")
    for stage, seconds in clock.seconds.items():
        print(f"| {stage} | {seconds:.2f} | {chunks / seconds:,.0f} |")
    print(f"| all stages | {alone:.2f} | {chunks / alone:,.0f} |")
    print(f"| `ingest` through Dagster | {total:.2f} | {chunks / total:,.0f} |")
    print(f"| Dagster's own bookkeeping (the difference) | {total - alone:.2f} | |")
    print(f"| `ingest` after one file changed | {changed:.2f} | |")
    print(f"| `ingest` when nothing changed | {unchanged:.2f} | |")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
