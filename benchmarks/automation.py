"""What a tick of the sensor costs, and how long a dropped file takes to be searchable.

    python benchmarks/automation.py [--files 1000 10000 100000] [--drops 3]

Ticks run in this process on an embedded server of their own and are given beside the least that they could cost: to
list the same folders with `os.scandir` and look at each file. Drops go to a real `vector-pipeline dev` with its
defaults. Prints the tables of docs/benchmarks/automation.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psycopg

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.local.instance import open_instance
from vector_pipeline.pipeline.pipeline import Pipeline, open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.store.embedded.server import EmbeddedServer

FILES_PER_FOLDER = 1_000
REPEATS = 5
LONG_AGO = (1_000_000, 1_000_000)


def fill(folder: Path, count: int) -> None:
    """Make `count` small old files, 1,000 in a folder."""
    for number in range(count):
        if number % FILES_PER_FOLDER == 0:
            place = folder / f"{number // FILES_PER_FOLDER:04}"
            place.mkdir(parents=True)
        path = place / f"{number:07}.txt"
        path.write_text(f"Note {number}.")
        os.utime(path, LONG_AGO)


def look_at_all(folder: Path) -> int:
    """List and stat every file, and nothing else."""
    found = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += look_at_all(Path(entry.path))
            else:
                entry.stat()
                found += 1
    return found


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def sensor_of(pipeline: Pipeline) -> dg.SensorDefinition:
    """`source_files_sensor`. A code location makes its definitions once."""
    return build_definitions(pipeline.settings, opened=pipeline).resolve_sensor_def("source_files_sensor")


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    """One evaluation of the sensor."""
    found = sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def measure_ticks(server: EmbeddedServer, count: int) -> None:
    """A line of the table for a source of this many files."""
    name = f"ticks_{count}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        fill(corpus, count)
        url = server.url.replace("@/postgres?", f"@/{name}?")
        settings = Settings.of(home=Path(scratch) / "home", database_url=url, source=str(corpus))
        with open_pipeline(settings) as pipeline, open_instance(settings) as instance:
            sensor, first = sensor_of(pipeline), 0.0
            while True:  # a first scan comes in portions
                first += seconds_of(lambda: tick(sensor, instance))
                with pipeline.database.connect() as connection:
                    known = connection.execute("SELECT count(*) FROM source_files").fetchone()
                if known == (count,):
                    break
            with pipeline.database.connect() as connection:
                connection.execute(
                    "UPDATE source_files SET status = 'loaded', pipeline = %s", (pipeline.fingerprints.of("note.txt"),)
                )
                connection.execute("VACUUM ANALYZE source_files")
            unchanged = [seconds_of(lambda: tick(sensor, instance)) for _ in range(REPEATS)]
            least = statistics.median(seconds_of(lambda: look_at_all(corpus)) for _ in range(REPEATS))
            (corpus / "0000" / "new.txt").write_text("A new note.")
            os.utime(corpus / "0000" / "new.txt", LONG_AGO)
            found = tick(sensor, instance)
            assert isinstance(found, dg.SensorResult), found
            assert len(found.run_requests or ()) == 1
    usual = statistics.median(unchanged)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {count:,} | {first:.2f} | {usual:.2f} | {least:.2f} | {usual / least:.1f} | {memory:,.0f} |", flush=True)


def measure_drops(drops: int) -> None:
    """From a file written to its text found through the view, under a real `dev`."""
    with tempfile.TemporaryDirectory() as scratch, EmbeddedServer.start(Path(scratch)) as server:
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = os.environ | {
            "DATABASE_URL": server.url,
            "VECTOR_PIPELINE_HOME": f"{scratch}/home",
            "VECTOR_PIPELINE_SOURCE": str(corpus),
        }
        command = [sys.executable, "-m", "vector_pipeline.cli", "dev", "--port", str(port)]
        with (Path(scratch) / "dev.log").open("wb") as log:
            dev = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            first = _until_searchable(server.url, corpus, "first")
            print(f"\n`dev` started to first file searchable: {first:.0f} s\n\n| drop | searchable after, s |")
            print("| --- | ---: |")
            for number in range(drops):
                time.sleep(7 * number)  # at another moment between two ticks each time
                print(f"| {number + 1} | {_until_searchable(server.url, corpus, f'drop {number}'):.1f} |", flush=True)
        finally:
            os.killpg(dev.pid, signal.SIGTERM)
            dev.wait(30)


def _until_searchable(url: str, corpus: Path, text: str) -> float:
    (corpus / f"{text}.txt").write_text(text)
    began = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection:
        while time.perf_counter() - began < 300:
            view = connection.execute("SELECT to_regclass('document_chunks')").fetchone()
            if (
                view != (None,)
                and connection.execute(
                    "SELECT FROM document_chunks WHERE page_content = %s AND embedding IS NOT NULL", (text,)
                ).fetchone()
                is not None
            ):
                return time.perf_counter() - began
            time.sleep(0.1)
    raise TimeoutError(f"'{text}' was not searchable within 300 s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--drops", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.INFO)  # what ticks say would stand between the lines of the table
    print("| files | first scan, s | a tick, nothing changed, s | listing alone, s | ratio | peak memory, MB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as home, EmbeddedServer.start(Path(home)) as server:
        for count in arguments.files:
            measure_ticks(server, count)
    if arguments.drops:
        measure_drops(arguments.drops)


if __name__ == "__main__":
    main()
