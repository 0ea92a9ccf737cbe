"""How an HNSW index is built and searched when it holds full vectors, halves or bits.

    python benchmarks/index.py [--vectors 200000] [--dimensions 256 1536] [--types vector halfvec bit]
        [--npy FILE] [--database URL] [--home FOLDER] [--memory MB] [--json FILE]

Starts an embedded server of its own, or uses an empty database named by --database. The vectors are seeded: a mixture
of Gaussians with a decaying spectrum and a common mean, as embeddings have; or those of --npy, float32, shape (vectors,
dimensions), whose last rows are the queries. One index exists at a time. For each type: in which memory its graph fits
and how many times slower a build is beyond it, the time and size of a full build, and recall@10 against exact search
with p50 and p95. Lines are printed as they are measured, so a run of hours can be left alone, and interrupted. The
figures are in docs/benchmarks/index.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from vector_pipeline.store.binary import COPY_HEAD, COPY_TAIL, Vectors, vector_rows
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.index_build import CANDIDATES, LINKS, build_workers
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.spaces import open_space

NEAREST = 10
BLOCK = 10_000
ROWS_IN_COPY = 64
# Candidates of a search. The first that reaches a recall is what a search of that recall costs.
CANDIDATES_TRIED = (40, 100, 200, 400, 800)
RECALLS = (0.95, 0.99)
# Eigenvalues fall as a power of their number, and clusters hold some hundreds of vectors.
DECAY = 0.5
PER_CLUSTER = 250
SPREAD = 0.8
MEAN = 0.4

# A build in this memory is watched until its graph no longer fits, and for some seconds after that.
SMALL_MEMORY_MB = 128
WATCHED_SECONDS = 45.0

OPERANDS = {
    "vector": ("embedding", "vector_cosine_ops"),
    "halfvec": ("(embedding::halfvec({d}))", "halfvec_cosine_ops"),
    "bit": ("(binary_quantize(embedding)::bit({d}))", "bit_hamming_ops"),
}
SEARCHES = {
    "vector": "SELECT content_hash, embedding <=> %(q)s::vector AS d FROM {table} ORDER BY 2 LIMIT 10",
    "halfvec": (
        "SELECT content_hash, embedding <=> %(q)s::vector AS d FROM {table} "
        "ORDER BY embedding::halfvec({d}) <=> %(q)s::vector LIMIT 10"
    ),
    "bit": (
        "WITH found AS MATERIALIZED (SELECT content_hash, embedding FROM {table} "
        "ORDER BY binary_quantize(embedding)::bit({d}) <~> binary_quantize(%(q)s::vector)::bit({d}) LIMIT {candidates}) "
        "SELECT content_hash, embedding <=> %(q)s::vector AS d FROM found ORDER BY 2 LIMIT 10"
    ),
}


@dataclass(frozen=True, slots=True)
class Build:
    """A full build. `fits` is the number of vectors after which the graph no longer fitted, or None."""

    type: str
    dimensions: int
    vectors: int
    processes: int
    memory_mb: int
    seconds: float
    index_mb: float
    fits: int | None


@dataclass(frozen=True, slots=True)
class Memory:
    """What one vector takes in the graph, and vectors a second before and after the graph no longer fits."""

    type: str
    dimensions: int
    bytes_a_vector: float
    fitting: float
    beyond: float


@dataclass(frozen=True, slots=True)
class Searched:
    """Searches with a number of candidates."""

    type: str
    dimensions: int
    candidates: int
    recall: float
    error: float
    """The standard error of the recall, over the queries."""
    p50_ms: float
    p95_ms: float


class Corpus:
    """Unit vectors made block by block, each block from its own seed, so that a million need no memory."""

    def __init__(self, vectors: int, dimensions: int, queries: int) -> None:
        random = np.random.default_rng(7)
        self.vectors, self.dimensions = vectors, dimensions
        scale = np.arange(1, dimensions + 1, dtype=np.float32) ** (-DECAY)
        rotation, _ = np.linalg.qr(random.standard_normal((dimensions, dimensions), dtype=np.float32))
        self._basis = scale[:, None] * rotation
        self._mean = MEAN * np.linalg.norm(scale) * rotation[0]
        clusters = max(50, vectors // PER_CLUSTER)
        self._centres = random.standard_normal((clusters, dimensions), dtype=np.float32)
        self.queries = self._made(queries, 1)

    def blocks(self) -> Iterator[Vectors]:
        """The vectors, shape (up to BLOCK, dimensions), float32."""
        for start in range(0, self.vectors, BLOCK):
            yield self._made(min(BLOCK, self.vectors - start), 100 + start)

    def _made(self, count: int, seed: int) -> Vectors:
        random = np.random.default_rng(seed)
        points = random.standard_normal((count, self.dimensions), dtype=np.float32) * np.float32(SPREAD)
        points += self._centres[random.integers(0, len(self._centres), count)]
        return _unit(points @ self._basis + self._mean)


class Stored(Corpus):
    """The vectors of a file; its last rows are the queries."""

    def __init__(self, path: Path, vectors: int, queries: int) -> None:
        self._rows = np.load(path, mmap_mode="r")
        self.vectors = min(vectors, len(self._rows) - queries)
        self.dimensions = int(self._rows.shape[1])
        self.queries = _unit(np.asarray(self._rows[-queries:], dtype=np.float32))

    def blocks(self) -> Iterator[Vectors]:
        """The vectors of the file."""
        for start in range(0, self.vectors, BLOCK):
            yield _unit(np.asarray(self._rows[start : min(start + BLOCK, self.vectors)], dtype=np.float32))


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


class Exact:
    """Exact search: the numbers of the vectors nearest to each query, of those that were offered so far."""

    def __init__(self, queries: Vectors) -> None:
        self._queries = queries
        self._distances = np.full((len(queries), NEAREST), np.inf, dtype=np.float32)
        self._numbers = np.zeros((len(queries), NEAREST), dtype=np.int64)

    def offer(self, numbers: np.ndarray[tuple[int], np.dtype[np.int64]], block: Vectors) -> None:
        """Compare a block of vectors, shape (len(numbers), dimensions), float32."""
        distances = np.concatenate([self._distances, 1 - self._queries @ block.T], axis=1)
        candidates = np.concatenate([self._numbers, np.broadcast_to(numbers, (len(distances), len(numbers)))], axis=1)
        nearest = np.argpartition(distances, NEAREST - 1, axis=1)[:, :NEAREST]
        self._distances = np.take_along_axis(distances, nearest, axis=1)
        self._numbers = np.take_along_axis(candidates, nearest, axis=1)

    @property
    def nearest(self) -> list[set[int]]:
        """The numbers of the nearest vectors of each query."""
        return [set(map(int, row)) for row in self._numbers]


def load(connection: Connection, table: str, corpus: Corpus) -> tuple[list[set[int]], float]:
    """Copy the vectors into a table with their numbers as keys; returns the nearest ones of each query by number.

    The second value is the recall of exact search over the vectors in half precision: what that precision allows.
    """
    full, half = Exact(corpus.queries), Exact(_halved(corpus.queries))
    number = 0
    with connection.cursor() as cursor, cursor.copy(_copy_statement(table)) as copy:
        copy.write(COPY_HEAD)
        for block in corpus.blocks():
            keys = np.arange(number, number + len(block))
            for start in range(0, len(block), ROWS_IN_COPY):
                place = slice(start, start + ROWS_IN_COPY)
                copy.write(vector_rows([int(key).to_bytes(16, "big") for key in keys[place]], block[place], "vector"))
            full.offer(keys, block)
            half.offer(keys, _halved(block))
            number += len(block)
        copy.write(COPY_TAIL)
    connection.execute(f"VACUUM ANALYZE {table}".encode())
    connection.execute("CHECKPOINT")
    kept = sum(len(a & b) for a, b in zip(full.nearest, half.nearest, strict=True))
    return full.nearest, kept / (NEAREST * len(corpus.queries))


def _halved(vectors: Vectors) -> Vectors:
    return _unit(vectors.astype(np.float16).astype(np.float32))


def _copy_statement(table: str) -> bytes:
    return f"COPY {table} (content_hash, embedding) FROM STDIN (FORMAT BINARY)".encode()


def _create(table: str, kind: str, dimensions: int) -> bytes:
    operand, operators = OPERANDS[kind]
    return (
        f"CREATE INDEX measured ON {table} USING hnsw ({operand.format(d=dimensions)} {operators}) "
        f"WITH (m = {LINKS}, ef_construction = {CANDIDATES})"
    ).encode()


@contextmanager
def _building(connection: Connection, memory_mb: int, workers: int) -> Iterator[list[int]]:
    """Settings of a build; the list is the number of vectors after which the graph no longer fitted."""
    fitted: list[int] = []

    def tell(notice: psycopg.errors.Diagnostic) -> None:
        words = (notice.message_primary or "").split()
        fitted.extend(int(word) for word in words if word.isdecimal() and "longer" in words)

    connection.execute("DROP INDEX IF EXISTS measured")
    connection.execute(f"SET maintenance_work_mem = '{memory_mb}MB'".encode())
    connection.execute(f"SET max_parallel_maintenance_workers = {workers}".encode())
    connection.add_notice_handler(tell)
    try:
        yield fitted
    finally:
        connection.remove_notice_handler(tell)


def build(connection: Connection, table: str, kind: str, corpus: Corpus, memory_mb: int) -> Build:
    """Build the index with all cores."""
    workers = build_workers(connection, corpus.vectors)
    with _building(connection, memory_mb, workers) as fitted:
        began = time.monotonic()
        connection.execute(_create(table, kind, corpus.dimensions))
        seconds = time.monotonic() - began
    row = connection.execute("SELECT pg_relation_size('measured')").fetchone()
    assert row is not None
    fits = fitted[0] if fitted else None
    return Build(kind, corpus.dimensions, corpus.vectors, workers + 1, memory_mb, seconds, row[0] / 2**20, fits)


def memory_of(database: Database, connection: Connection, table: str, kind: str, corpus: Corpus) -> Memory | None:
    """Build in little memory, watch the rate until some time after the graph no longer fits, and cancel."""
    looks: list[tuple[float, int]] = []
    done = threading.Event()
    fitted: list[int] = []

    def watch() -> None:
        query = "SELECT tuples_done FROM pg_stat_progress_create_index WHERE pid = %s"
        left: float | None = None
        with database.connect() as own:
            while not done.wait(0.25):
                row = own.execute(query, (connection.info.backend_pid,)).fetchone()
                looks.append((time.monotonic(), row[0] if row else 0))
                if fitted and left is None:
                    left = time.monotonic()
                if left is not None and time.monotonic() - left > WATCHED_SECONDS:
                    own.execute("SELECT pg_cancel_backend(%s)", (connection.info.backend_pid,))
                    return

    watcher = threading.Thread(target=watch)
    with _building(connection, SMALL_MEMORY_MB, build_workers(connection, corpus.vectors)) as found:
        fitted = found
        watcher.start()
        try:
            connection.execute(_create(table, kind, corpus.dimensions))
        except psycopg.errors.QueryCanceled:
            pass
        finally:
            done.set()
            watcher.join()
    connection.execute("DROP INDEX IF EXISTS measured")
    if not fitted:
        return None
    before = [look for look in looks if 0 < look[1] <= fitted[0]]
    after = [look for look in looks if look[1] > fitted[0]]
    if len(before) < 2 or len(after) < 2:
        return None
    return Memory(kind, corpus.dimensions, SMALL_MEMORY_MB * 2**20 / fitted[0], _rate(before), _rate(after))


def _rate(looks: Sequence[tuple[float, int]]) -> float:
    (first, low), (last, high) = looks[0], looks[-1]
    return (high - low) / max(1e-3, last - first)


def search(
    connection: Connection, table: str, kind: str, corpus: Corpus, exact: Sequence[set[int]], candidates: int
) -> Searched:
    """Search all queries twice, so that the second time finds the same pages in memory for every type."""
    statement = SEARCHES[kind].format(table=table, d=corpus.dimensions, candidates=candidates).encode()
    connection.execute(f"SET hnsw.ef_search = {candidates}".encode())
    recalls, times = [], []
    for turn in range(2):
        for query, nearest in zip(corpus.queries, exact, strict=True):
            began = time.perf_counter()
            rows = connection.execute(statement, {"q": query}, prepare=True).fetchall()
            if turn:
                times.append((time.perf_counter() - began) * 1_000)
                recalls.append(len(nearest & {row[0].int for row in rows}) / NEAREST)
    p50, p95 = np.percentile(times, [50, 95])
    recall, error = float(np.mean(recalls)), float(np.std(recalls) / np.sqrt(len(recalls)))
    return Searched(kind, corpus.dimensions, candidates, recall, error, float(p50), float(p95))


def measure(
    database: Database, corpus: Corpus, kinds: Sequence[str], memory_mb: int, say: Any, *, watched: bool
) -> None:
    """Everything for vectors of one number of dimensions."""
    with database.connect() as connection:
        space = open_space(connection, f"m{corpus.dimensions}", corpus.dimensions, index_type="vector")
        table = space.embeddings
        exact, allowed = load(connection, table, corpus)
        print(f"exact search over halves: recall@{NEAREST} {allowed:.4f}", flush=True)
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET hnsw.iterative_scan = 'relaxed_order'")
        for kind in kinds:
            if watched and (taken := memory_of(database, connection, table, kind, corpus)) is not None:
                say(taken)
            say(build(connection, table, kind, corpus, memory_mb))
            searched = []
            for candidates in CANDIDATES_TRIED:
                searched.append(search(connection, table, kind, corpus, exact, candidates))
                say(searched[-1])
            for recall in RECALLS:
                enough = next((s for s in searched if s.recall >= recall), None)
                if enough is not None:
                    print(f"  {kind}: recall {recall} with {enough.candidates}: {enough.p50_ms:.2f} ms", flush=True)
        connection.execute("DROP INDEX IF EXISTS measured")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[256, 1_536])
    parser.add_argument("--types", nargs="+", choices=list(OPERANDS), default=list(OPERANDS))
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--npy", type=Path, help="a file of vectors, instead of those that are made")
    parser.add_argument("--memory", type=int, default=4_096, help="maintenance_work_mem of the full builds, in MB")
    parser.add_argument("--no-small-memory", action="store_true", help="leave out the builds in too little memory")
    parser.add_argument("--database", help="URL of an empty database; default: an embedded server")
    parser.add_argument("--home", type=Path, help="folder of the embedded server; default: a temporary one")
    parser.add_argument("--json", type=Path, help="file for the figures, one JSON object a line")
    arguments = parser.parse_args()

    def say(figures: Any) -> None:
        line = json.dumps({"what": type(figures).__name__.lower(), **asdict(figures)})
        print(line, flush=True)
        if arguments.json:
            with arguments.json.open("a") as file:
                file.write(line + "\n")

    with (
        nullcontext(str(arguments.home)) if arguments.home else tempfile.TemporaryDirectory() as home,
        nullcontext() if arguments.database else EmbeddedServer.start(Path(home)) as server,
    ):
        url = arguments.database or (server.url if server else "")
        for dimensions in [0] if arguments.npy else arguments.dimensions:
            corpus = (
                Stored(arguments.npy, arguments.vectors, arguments.queries)
                if arguments.npy
                else Corpus(arguments.vectors, dimensions, arguments.queries)
            )
            database = Database(url, schema=f"index_{corpus.dimensions}", embedded=not arguments.database)
            migrate(database)
            measure(database, corpus, arguments.types, arguments.memory, say, watched=not arguments.no_small_memory)


if __name__ == "__main__":
    main()
