"""How much of a rate limit the client uses, and what it wastes.

Runs against the test server in a process of its own, over real HTTP, with the API's own bucket arithmetic. Each
scenario prints one row; the last column says whether the row holds what docs/benchmarks/pacing.md promises.

    python -m benchmarks.pacing                 all scenarios, two minutes' worth of budget each
    python -m benchmarks.pacing --minutes 0.5   shorter
    python -m benchmarks.pacing --only full-2M,processes-2M
    python -m benchmarks.pacing --clients [--peers DIR]
                                                clients beside each other instead: ours and the plain loop, and
                                                LangChain's and LlamaIndex's of the virtual environment DIR
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import multiprocessing
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import numpy as np
from pydantic import SecretStr

from vector_pipeline.embedding import flow
from vector_pipeline.embedding.client import Answer, ClientConfig, EmbeddingClient, EmbeddingInput
from vector_pipeline.embedding.pacing.limits import Limits
from vector_pipeline.embedding.pacing.pacer import LocalPacer, Pacer
from vector_pipeline.embedding.requests import RequestLimits, pack, target_weight, weigh
from vector_pipeline.store.connection import Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.shared.pacing import PostgresPacer
from vector_pipeline.store.space import Space
from vector_pipeline.store.spaces import open_space
from vector_pipeline.store.vectors import store_vectors
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline_tests.support.openai_server import Fault, ServerConfig, serve_in_process
from vector_pipeline_tests.support.openai_server.embedding import vector_of

WORDS = re.findall(
    r"\w+",
    "the of and library garden water bread street river evening winter paper letter window morning question "
    "도서관 정원 저녁 겨울 편지 아침 질문 대답 빵 강물",
)
WORDS_PER_TEXT = 130
STORED = 50_000
FAULTS: dict[Fault, float] = {"500": 0.05, "reset": 0.05, "hang": 0.05, "429": 0.05, "truncated": 0.05}
OUR_KEY = "sk-benchmark"


@dataclass(frozen=True)
class Scenario:
    """One row of the table."""

    name: str
    server: ServerConfig
    minutes: float = 2.0
    processes: int = 1
    stranger_share: float = 0.0
    preset: bool = False
    stored: bool = False
    at_least: float = 0.98
    most_limited: float = 0.0
    timeout: float = 60.0


@dataclass(frozen=True)
class Outcome:
    """What came of one."""

    seconds: float
    fraction: float
    limited: int
    requests: int
    in_flight: int
    cpu_seconds: float
    inputs: int
    peak_mb: float
    wrong: int
    paid_twice: int


def texts(seed: int) -> Iterator[EmbeddingInput]:
    """Distinct texts without end, of about 190 tokens, a third of them partly Korean."""
    rng, tokenizer = random.Random(seed), tokenizer_for("")
    number = 0
    while True:
        number += 1
        text = f"{seed} {number} " + " ".join(rng.choices(WORDS, k=WORDS_PER_TEXT))
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        yield EmbeddingInput(text, tokenizer.count(text), key)


def some(seed: int, tokens: int, *, most: int | None = None) -> Iterator[EmbeddingInput]:
    """Texts with this many tokens in total, and at most this many texts."""
    for item in itertools.islice(texts(seed), most):
        if tokens <= 0:
            return
        tokens -= item.tokens
        yield item


def requests_of(inputs: Iterator[EmbeddingInput], limits: Limits) -> Iterator[list[EmbeddingInput]]:
    """Requests sized for the rate."""
    wanted = target_weight(RequestLimits(), limits.tokens_per_minute, limits.requests_per_minute)
    return pack(inputs, replace(RequestLimits(), max_weight=wanted), lambda item: weigh(item.tokens, item.text))


@dataclass
class Work:
    """What one client process does."""

    url: str
    seed: int
    tokens: int
    limits: Limits
    preset: bool
    timeout: float
    dimensions: int
    database: Database | None
    space: Space | None


def run_client(work: Work) -> tuple[int, float, float, int]:
    """Embed the texts; returns inputs, CPU seconds, peak memory in MB and vectors that are not the right ones."""
    began = time.process_time()
    config = ClientConfig(
        "text-embedding-3-small",
        base_url=work.url,
        api_key=SecretStr(OUR_KEY),
        limits=work.limits if work.preset else None,
        dimensions=work.dimensions,
        timeout_seconds=work.timeout,
    )
    wrong = inputs = 0
    connection = work.database.connect(role="benchmark") if work.database and work.space else None
    lock = threading.Lock()

    def store(answer: Answer) -> None:
        if connection is not None and work.space is not None:
            with lock:
                store_vectors(connection, work.space, [i.content_hash for i in answer.inputs], answer.vectors)

    async def deliver(answer: Answer) -> None:
        nonlocal wrong, inputs
        inputs += len(answer.inputs)
        expected = vector_of(answer.inputs[-1].text, work.dimensions)
        wrong += not np.array_equal(answer.vectors[-1], expected)
        await asyncio.to_thread(store, answer)

    async def main() -> None:
        pacer: Pacer = PostgresPacer.of(work.database, config) if work.database else LocalPacer(config.limits)
        async with EmbeddingClient(config, pacer) as client:
            await flow.embed_batches(
                client,
                requests_of(some(work.seed, work.tokens), work.limits),
                deliver,
                max_in_flight=32,
            )

    httpx2.post(work.url.replace("/v1", "/start"))
    asyncio.run(main())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return inputs, time.process_time() - began, peak, wrong


def stranger(url: str, tokens_per_minute: float, stop: threading.Event) -> None:
    """Another user of the account: 20,000-token requests at a constant rate, sent again when refused."""
    text = "word " * 990
    config = ClientConfig("text-embedding-3-small", base_url=url, api_key=SecretStr("stranger"), retry_seconds=60)
    numbers = itertools.count()

    async def one(client: EmbeddingClient) -> None:
        request = next(numbers)
        batch = [EmbeddingInput(f"stranger {request} {n} {text}", 1_000, b"") for n in range(20)]
        while not stop.is_set():
            answer = await client._request(batch, await LocalPacer().reserve(1))
            if isinstance(answer, Answer):
                return
            await asyncio.sleep(0.3)

    async def main() -> None:
        async with EmbeddingClient(config, LocalPacer()) as client:
            tasks = set()
            due = time.monotonic()
            while not stop.is_set():
                task = asyncio.create_task(one(client))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                due += 20 * 998 * 60 / tokens_per_minute
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            for task in tasks:
                task.cancel()

    asyncio.run(main())


def preload(database: Database, space: Space) -> None:
    """Fill a space with vectors under its index."""
    rng = np.random.default_rng(1)
    with database.connect() as connection:
        for _ in range(STORED // 1_000):
            vectors = rng.standard_normal((1_000, space.dimensions), dtype=np.float32)
            store_vectors(connection, space, [rng.bytes(16) for _ in range(1_000)], vectors)
    maintain_index(database)


def measure(scenario: Scenario, database: Database | None) -> Outcome:
    """Run a scenario."""
    config = scenario.server
    limits = Limits(config.tokens_per_minute, config.requests_per_minute)
    tpm = config.tokens_per_minute or 0
    budget = scenario.minutes * tpm * (1 - scenario.stranger_share)
    space = None
    if database is not None:
        with database.connect() as connection:
            connection.execute("DELETE FROM vector_pipeline_shared.pacing")
            space = open_space(connection, config.model, config.dimensions) if scenario.stored else None
        if space is not None:
            preload(database, space)
    stop = threading.Event()
    with serve_in_process(config) as server:
        helpers = []
        if scenario.stranger_share:
            rate = scenario.stranger_share * tpm
            helpers.append(threading.Thread(target=stranger, args=(server.url, rate, stop)))
        seed = time.time_ns() % 1_000_000
        jobs = [
            Work(
                url=server.url,
                seed=seed + n,
                tokens=int(budget / scenario.processes),
                limits=limits,
                preset=scenario.preset,
                timeout=scenario.timeout,
                dimensions=config.dimensions,
                database=database,
                space=space,
            )
            for n in range(scenario.processes)
        ]
        for helper in helpers:
            helper.start()
        with multiprocessing.get_context("spawn").Pool(scenario.processes) as pool:
            results = pool.map(run_client, jobs, chunksize=1)
        summary = server.summary()
        stop.set()
        for helper in helpers:
            helper.join()
    return outcome(scenario, summary, results)


def outcome(scenario: Scenario, summary: dict[str, object], results: list[tuple[int, float, float, int]]) -> Outcome:
    """The figures of a run: tokens admitted against what the bucket held at first and what refilled meanwhile."""
    config = scenario.server
    seconds = float(str(summary["seconds"]))
    available = (config.tokens_per_minute or 0) * (seconds / 60 + config.initial_fill)
    limited, requests = summary["limited_by_key"], summary["requests_by_key"]
    assert isinstance(limited, dict)
    assert isinstance(requests, dict)
    return Outcome(
        seconds,
        int(str(summary["weight"])) / available if available else 0.0,
        limited.get(OUR_KEY, 0),
        requests.get(OUR_KEY, 0),
        int(str(summary["most_in_flight"])),
        sum(r[1] for r in results),
        sum(r[0] for r in results),
        max(r[2] for r in results),
        sum(r[3] for r in results),
        int(str(summary["paid_twice"])),
    )


def scenarios(minutes: float) -> list[Scenario]:
    """The rows of docs/benchmarks/pacing.md."""
    two = ServerConfig(tokens_per_minute=2_000_000, requests_per_minute=5_000, latency=0.3, dimensions=256)
    two_empty = replace(two, initial_fill=0.0)
    ten = replace(two, tokens_per_minute=10_000_000, requests_per_minute=10_000)
    ten_empty = replace(ten, initial_fill=0.0)
    beside = Scenario("stranger", two_empty, minutes, preset=True, stranger_share=1 / 3, at_least=0.9, most_limited=0.01)
    return [
        Scenario("empty-2M", two_empty, minutes, preset=True),
        Scenario("full-2M", two, minutes + 1),
        Scenario("empty-10M", ten_empty, minutes, preset=True),
        Scenario("full-10M", ten, minutes + 1),
        Scenario("stored-10M", replace(ten_empty, dimensions=1_536), minutes, preset=True, stored=True),
        Scenario("processes-2M", two_empty, minutes, preset=True, processes=4),
        Scenario("processes-10M", ten_empty, minutes, preset=True, processes=4),
        replace(beside, name="stranger-2M"),
        replace(beside, name="stranger-10M", server=ten_empty),
        Scenario("faults-10M", replace(ten, faults=FAULTS), 0.5, at_least=0.0, most_limited=1.0, timeout=2.0),
        Scenario("bytes/4-2M", replace(two_empty, counts="bytes/4"), minutes, preset=True),
        Scenario("bucket-6s-2M", replace(two_empty, bucket_seconds=6.0), minutes, preset=True),
    ]


COLUMNS = (
    ("seconds", "8.1f"),
    ("of limit", "8.4f"),
    ("429s", "5"),
    ("requests", "8"),
    ("at once", "7"),
    ("CPU s", "6.1f"),
    ("ms/1k", "6.0f"),
    ("peak MB", "7.0f"),
    ("wrong", "5"),
    ("twice", "5"),
)


def row(o: Outcome) -> str:
    """One line of the table; CPU milliseconds for a thousand inputs include the making of the texts."""
    per_thousand = o.cpu_seconds / max(1, o.inputs) * 1e6
    values = (o.seconds, o.fraction, o.limited, o.requests, o.in_flight, o.cpu_seconds, per_thousand, o.peak_mb)
    shown = zip((*values, o.wrong, o.paid_twice), COLUMNS, strict=True)
    return " ".join(f"{value:{form}}" for value, (_, form) in shown)


def compare(peers: Path | None) -> None:
    """CPU, time and memory of the clients at a server without limits, the best of three runs each."""
    print(f"{'client':14} {'CPU ms/1k':>9} {'inputs/s':>9} {'peak MB':>8}")
    texts_of = [item.text for item in some(1, 10**9, most=20_000)]
    with serve_in_process(ServerConfig()) as server:
        for name, python in clients(peers):
            for count in (20_000, 5_000) if name == "ours" else (20_000,):
                done = [run_peer(name, python, server.url, texts_of[:count]) for _ in range(3)]
                cpu, wall, peak = (min(values) for values in zip(*done, strict=True))
                shown = name if count == 20_000 else f"{name} ({count:,})"
                print(f"{shown:14} {cpu / count * 1e6:9.0f} {count / wall:9,.0f} {peak:8.0f}", flush=True)


def compare_paced(peers: Path | None) -> None:
    """What other clients make of a limit of 10 million tokens a minute, from an empty bucket."""
    print(f"{'client':14} {'seconds':>8} {'of limit':>8} {'429s':>5} {'requests':>8} {'in vain':>10}  ended")
    texts_of = [item.text for item in some(1, 10_000_000)]
    config = ServerConfig(
        tokens_per_minute=10_000_000, requests_per_minute=10_000, latency=0.3, dimensions=256, initial_fill=0.0
    )
    for name, python in clients(peers)[1:]:
        with serve_in_process(config) as server:
            server.start()
            ended = "well" if run_peer(name, python, server.url, texts_of)[1] else "with an error"
            summary = server.summary()
            seconds, statuses = float(str(summary["seconds"])), summary["statuses"]
            assert isinstance(statuses, dict)
            fraction = int(str(summary["weight"])) / (10_000_000 * seconds / 60)
            limited, vain = statuses.get("429", 0), int(str(summary["tokens_in_vain"]))
            print(
                f"{name:14} {seconds:8.1f} {fraction:8.3f} {limited:5} {summary['requests']:8} {vain:10,}  {ended}",
                flush=True,
            )


def clients(peers: Path | None) -> list[tuple[str, str]]:
    """Clients and the Python that has each; ours is the first."""
    found = [("ours", sys.executable), ("plain loop", sys.executable)]
    if peers is not None:
        found += [(name, str(peers / "bin" / "python")) for name in ("langchain", "llama_index")]
    return found


def run_peer(name: str, python: str, url: str, texts_of: Sequence[str]) -> tuple[float, float, float]:
    """CPU seconds, seconds and peak MB of one client embedding the texts; all 0 where it ended with an error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps(texts_of))
        command = [python, str(Path(__file__).parent / "clients.py"), name, url, str(path)]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        print(f"{name}: {done.stderr.decode().strip().splitlines()[-1][:160]}", file=sys.stderr)
        return 0.0, 0.0, 0.0
    cpu, wall, peak = json.loads(done.stdout)
    return cpu, wall, peak


def main() -> None:
    """Run what the command line names and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0, help="budget of each scenario")
    parser.add_argument("--only", default="", help="names of scenarios, with commas")
    parser.add_argument("--clients", action="store_true", help="compare CPU and memory of clients instead")
    parser.add_argument("--peers", type=Path, help="virtual environment with langchain-openai and llama-index")
    options = parser.parse_args()
    if options.clients:
        compare(options.peers)
        compare_paced(options.peers)
        return
    names = [name for name in options.only.split(",") if name]
    print(" ".join([f"{'scenario':16}", *(f"{name:>{int(form.split('.')[0])}}" for name, form in COLUMNS)]))
    with tempfile.TemporaryDirectory() as home, EmbeddedServer.start(Path(home)) as postgres:
        database = Database(postgres.url)
        migrate(database)
        for scenario in scenarios(options.minutes):
            if names and scenario.name not in names:
                continue
            o = measure(scenario, database)
            good = o.fraction >= scenario.at_least and o.limited <= scenario.most_limited * o.requests
            good = good and not o.wrong and not o.paid_twice
            print(f"{scenario.name:16} {row(o)}  {'ok' if good else 'MISSED'}", flush=True)


if __name__ == "__main__":
    main()
