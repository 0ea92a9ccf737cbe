"""Several workers beside one: how much faster they load, and how much of one rate limit they use together.

    python -m benchmarks.workers            # both scenarios: five minutes
    python -m benchmarks.workers --only limit

A worker is a process with a home of its own that runs Dagster's job `ingest` for one arrival after the other, on a
database that all share. The test server answers after 300 ms, in a process of its own over real HTTP. The time runs from
the first request until the last row is loaded, so the start of Python does not count, but what a run does besides
waiting for answers does. The arrivals are registered before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg

from benchmarks.pacing import some
from vector_pipeline.defs.build import build_definitions
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.settings import Settings
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.stages.scan import scan
from vector_pipeline.store.connection import Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline_tests.support.openai_server import ServerConfig, serve_in_process

WORKERS = 4
TOKENS_OF_A_TEXT = 190
FILES_OF_A_SHARE = 5
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Scenario:
    """What the server allows, and how many tokens there are."""

    name: str
    server: ServerConfig
    tokens: int
    """Of all workers together."""
    inputs: int
    """Texts in a request."""
    workers: tuple[int, ...]


SPEED = Scenario("speed", ServerConfig(latency=0.3, dimensions=256), 400 * 8 * TOKENS_OF_A_TEXT, 8, (1, WORKERS))
LIMIT = Scenario(
    "limit",
    replace(SPEED.server, tokens_per_minute=1_000_000, initial_fill=0.0),
    1_500_000,
    2_048,
    (WORKERS,),
)


def write_texts(folder: Path, tokens: int) -> int:
    """Write the files of an arrival for each of the workers; returns the number of texts."""
    count = 0
    for share in range(WORKERS):
        made = folder / str(share)
        made.mkdir(parents=True)
        texts = [item.text for item in some(share + 1, tokens // WORKERS)]
        count += len(texts)
        for file in range(FILES_OF_A_SHARE):
            (made / f"{file}.txt").write_text("\n\n".join(texts[file::FILES_OF_A_SHARE]))
    return count


@dataclass(frozen=True)
class Share:
    """What one worker does."""

    database_url: str
    api_url: str
    home: Path
    arrivals: list[str]
    config: ServerConfig
    inputs: int


def settings_of(share: Share) -> Settings:
    """The settings of a worker."""
    return Settings.of(
        home=share.home,
        storage=str(share.home.parent / "stages"),
        database_url=share.database_url,
        openai_api_key="sk-benchmark",
        openai_base_url=share.api_url,
        dimensions=share.config.dimensions,
        chunk_strategy="paragraph",
        max_in_flight=2,
        max_inputs_per_request=share.inputs,
        max_files_per_arrival=FILES_OF_A_SHARE,
        tokens_per_minute=share.config.tokens_per_minute,
    )


def work(share: Share) -> None:
    """Run a worker's arrivals."""
    settings = settings_of(share)
    with open_pipeline(settings) as pipeline, dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("arrivals", share.arrivals)
        job = build_definitions(settings, opened=pipeline).resolve_job_def("ingest")
        for arrival in share.arrivals:
            assert job.execute_in_process(instance=instance, partition_key=arrival).success


def register(share: Share, texts: Path) -> list[str]:
    """Register the files of a folder; an arrival for each share."""
    with open_pipeline(settings_of(share)) as pipeline:
        return scan(pipeline.database, LocalSource(str(texts)), pipeline.scan_options("cli")).arrivals


def loaded(database: Database) -> int:
    """The rows in the table; none before it is there."""
    with database.connect() as connection:
        there = connection.execute("SELECT to_regclass('chunks') IS NOT NULL").fetchone()
        row = connection.execute("SELECT count(*) FROM chunks").fetchone() if there and there[0] else None
    return int(row[0]) if row else 0


def measure(scenario: Scenario, workers: int, server_url: str) -> tuple[float, float, int, int]:
    """Seconds, the share of the limit, 429s and requests of some workers."""
    config = scenario.server
    name = f"{scenario.name}_{workers}"
    with Database(server_url).connect() as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    database = Database(urlsplit(server_url)._replace(path=f"/{name}").geturl())
    with tempfile.TemporaryDirectory() as folder, serve_in_process(config) as api:
        texts = write_texts(Path(folder) / "texts", scenario.tokens)
        share = Share(database.url, api.url, Path(folder) / "home", [], config, scenario.inputs)
        arrivals = register(share, Path(folder) / "texts")
        assert len(arrivals) == WORKERS
        shares = [
            replace(share, home=Path(folder) / f"home {worker}", arrivals=arrivals[worker::workers])
            for worker in range(workers)
        ]
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            # The bucket is empty and fills from now on: else it would begin at the first request, and refuse that.
            api.start()
            done = pool.map_async(work, shares, chunksize=1)
            while not api.summary()["requests"]:
                time.sleep(POLL_SECONDS)
            began = time.monotonic()
            while loaded(database) < texts and not done.ready():
                time.sleep(POLL_SECONDS)
            seconds = time.monotonic() - began
            done.get()
            pool.close()
            pool.join()
        assert loaded(database) == texts
        seen = api.summary()
    assert seen["paid_twice"] == 0
    available = (config.tokens_per_minute or 0) * float(str(seen["seconds"])) / 60
    limited = seen["limited_by_key"]
    assert isinstance(limited, dict)
    used = int(str(seen["weight"])) / available if available else 0.0
    return seconds, used, sum(limited.values()), int(str(seen["requests"]))


def main() -> None:
    """Run the scenarios and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["speed", "limit"])
    only = parser.parse_args().only
    print("| scenario | workers | seconds | times as fast | of limit | 429s | requests |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as home, EmbeddedServer.start(Path(home)) as postgres:
        for scenario in (SPEED, LIMIT):
            if only not in (None, scenario.name):
                continue
            first = 0.0
            for workers in scenario.workers:
                seconds, used, limited, requests = measure(scenario, workers, postgres.url)
                first = first or seconds
                faster = f"{first / seconds:.2f}"
                shown = f"{used:.4f}" if used else ""
                print(
                    f"| `{scenario.name}` | {workers} | {seconds:.1f} | {faster} | {shown} | {limited} | {requests} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
