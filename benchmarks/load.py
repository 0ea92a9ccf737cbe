"""How fast vectors and rows are loaded, replaced and searched, beside the server's own COPY and other people's ways.

    python benchmarks/load.py [--rows 20000] [--corpus 50000] [--peers FOLDER]

Starts an embedded server of its own. With --peers, Django, LangChain and LlamaIndex are installed into a virtual
environment in FOLDER (kept and used again) and load the same kind of rows. Prints the table of docs/benchmarks/load.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from vector_pipeline.store.binary import Vectors
from vector_pipeline.store.chunks import ChunkRow, SourceRows
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.embedded_server import EmbeddedServer
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.rows import load_sources
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.spaces import Space, open_space
from vector_pipeline.store.vectors import store_vectors

PEERS = ("django", "langchain", "llama_index")
PEER_PACKAGES = ("django", "langchain-postgres", "llama-index-vector-stores-postgres", "psycopg[binary]", "pgvector")
FILE_CHUNKS = 1_000
ANSWER = 100
REPEATS = 3

FLAT = (
    "CREATE TABLE {name} (id uuid PRIMARY KEY, source text NOT NULL, chunk_index int NOT NULL, page_content text NOT "
    "NULL, metadata jsonb NOT NULL, content_hash uuid NOT NULL, embedding vector({dimensions}) NOT NULL, "
    "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now())"
)

FLAT_INDEXES = ("source", "content_hash")
SERVER_COPY = "server-side COPY, one flat table"


class Corpus:
    """Files of 1,000 chunks of about 1.5 KB, and random vectors in clusters, shape (rows, dimensions), float32."""

    def __init__(self, rows: int, dimensions: int) -> None:
        random = np.random.default_rng(1)
        basis = random.standard_normal((32, dimensions), dtype=np.float32)
        centres = random.standard_normal((200, 32), dtype=np.float32)
        points = centres[random.integers(0, 200, rows)] + 0.5 * random.standard_normal((rows, 32), dtype=np.float32)
        vectors = points @ basis
        self.vectors: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self.texts = [f"{i} " + random.bytes(750).hex() for i in range(rows)]
        self.hashes = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in self.texts]

    def file(self, number: int) -> SourceRows:
        """One file of the corpus."""
        place = slice(number * FILE_CHUNKS, (number + 1) * FILE_CHUNKS)
        return rows_of(f"{number}.txt", self.texts[place], self.hashes[place])


def rows_of(path: str, texts: list[str], hashes: list[bytes]) -> SourceRows:
    """A file of the given chunks."""
    chunks = [
        ChunkRow("", i, i * 2_000, i * 2_000 + len(text), text, '{"a": 1}', 400, h)
        for i, (text, h) in enumerate(zip(texts, hashes, strict=True))
    ]
    key = hashlib.blake2b(path.encode(), digest_size=16).digest()
    return SourceRows(key, path, "1", "utf-8", 1, "p", chunks)


def fresh_database(server: EmbeddedServer) -> Database:
    """An empty database with the pipeline's tables."""
    name = f"load_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        connection.execute("CHECKPOINT")
    database = Database(server.url.replace("@/postgres?", f"@/{name}?"))
    migrate(database)
    return database


def drop(server: EmbeddedServer, database: Database) -> None:
    """Drop it again."""
    name = database.url.split("@/")[1].split("?")[0]
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def own(connection: Connection, files: list[SourceRows]) -> None:
    """Enter files into the manifest, as a scan does."""
    connection.execute(
        "INSERT INTO arrivals (key, root, trigger, files, bytes) VALUES ('A', '/', 'cli', 1, 1) ON CONFLICT DO NOTHING"
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO source_files (source_key, root, path, fingerprint, size, arrival, status) "
            "VALUES (%s, '/', %s, '1', 1, 'A', 'pending') ON CONFLICT DO NOTHING",
            [(uuid.UUID(bytes=file.source_key), file.path) for file in files],
        )


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def load_all(
    database: Database, space: Space, corpus: Corpus, files: list[SourceRows], at_once: int, connections: int = 1
) -> None:
    """Vectors, `at_once` in a commit, and behind them on a connection more the rows, a file of 1,000 in a commit."""
    batches = iter(range(0, len(corpus.hashes), at_once))
    stored: set[int] = set()
    change = threading.Condition()

    def store() -> None:
        with database.connect() as connection:
            while True:
                with change:
                    start = next(batches, None)
                if start is None:
                    return
                place = slice(start, start + at_once)
                store_vectors(connection, space, corpus.hashes[place], corpus.vectors[place])
                with change:
                    stored.add(start)
                    change.notify_all()

    def load_behind() -> None:
        with database.connect() as connection:
            for number, file in enumerate(files):
                needed = set(range(number * FILE_CHUNKS, (number + 1) * FILE_CHUNKS, at_once))
                with change:
                    change.wait_for(lambda n=needed: n <= stored)
                load_sources(connection, "A", [file])

    threads = [threading.Thread(target=store) for _ in range(connections)] + [threading.Thread(target=load_behind)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def fill_flat(connection: Connection, corpus: Corpus, name: str, *, indexed: bool = True) -> None:
    """The same rows in one flat default table, as a client's binary COPY writes them.

    `indexed` gives it the two b-trees that the pipeline's own table has: what a file's rows, and those of a text,
    are found by.
    """
    connection.execute(FLAT.format(name=name, dimensions=corpus.vectors.shape[1]).encode())
    for column in FLAT_INDEXES if indexed else ():
        connection.execute(f"CREATE INDEX ON {name} ({column})".encode())
    statement = (
        f"COPY {name} (id, source, chunk_index, page_content, metadata, content_hash, embedding) FROM STDIN BINARY"
    )
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.set_types(["uuid", "text", "int4", "text", "jsonb", "uuid", "vector"])
        for i, (text, h, vector) in enumerate(zip(corpus.texts, corpus.hashes, corpus.vectors, strict=True)):
            file, index = divmod(i, FILE_CHUNKS)
            copy.write_row((uuid.uuid4(), f"{file}.txt", index, text, Jsonb({"a": 1}), uuid.UUID(bytes=h), vector))


def measure_loads(server: EmbeddedServer, rows: int, dimensions: int, peers: Path | None) -> None:
    """Rows a second of each way, median of three."""
    corpus = Corpus(rows, dimensions)
    files = [corpus.file(number) for number in range(rows // FILE_CHUNKS)]
    found: dict[str, list[float]] = {}
    for _ in range(REPEATS):
        for name, indexed in ((SERVER_COPY, True), (f"{SERVER_COPY}, primary key only", False)):
            database = fresh_database(server)
            with database.connect() as connection, tempfile.TemporaryDirectory() as folder:
                Path(folder).chmod(0o777)  # the server writes the file, as its own user
                fill_flat(connection, corpus, "flat", indexed=indexed)
                connection.execute(f"COPY flat TO '{folder}/rows' (FORMAT BINARY)".encode())
                connection.execute("TRUNCATE flat")
                connection.execute("CHECKPOINT")
                copy = f"COPY flat FROM '{folder}/rows' (FORMAT BINARY)".encode()
                _note(found, name, rows, partial(connection.execute, copy))
            drop(server, database)
        for name, at_once, connections in (
            ("this pipeline, bulk, two connections for vectors", 1_000, 2),
            ("this pipeline, bulk, one", 1_000, 1),
            (f"this pipeline, {ANSWER} vectors a commit", ANSWER, 1),
        ):
            database = fresh_database(server)
            with database.connect() as connection:
                space = open_space(connection, "m", dimensions)
                own(connection, files)
                _note(found, name, rows, partial(load_all, database, space, corpus, files, at_once, connections))
            drop(server, database)
    for peer in PEERS if peers else ():
        database = fresh_database(server)
        count = min(rows, 3_000)
        command = [str(peers / "bin" / "python"), str(Path(__file__).with_name("load_peers.py"))]
        done = subprocess.run(
            [*command, database.url, str(dimensions), str(count), peer], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            found[peer] = [float(json.loads(done.stdout.splitlines()[-1]))]
        else:
            print(f"{peer} failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        drop(server, database)
    base = statistics.median(found[SERVER_COPY])
    print(f"\n{dimensions} dimensions, {rows:,} rows\n\n| way | rows/s | of the server's COPY |\n| --- | ---: | ---: |")
    for name, rates in found.items():
        print(f"| {name} | {statistics.median(rates):,.0f} | {statistics.median(rates) / base:.3f} |")


def _note(found: dict[str, list[float]], name: str, rows: int, work: Callable[[], object]) -> None:
    found.setdefault(name, []).append(rows / seconds_of(work))


def measure_corpus(server: EmbeddedServer, rows: int, dimensions: int) -> None:
    """Edits of one file, and searches, in an indexed corpus beside a flat indexed table."""
    corpus = Corpus(rows, dimensions)
    database = fresh_database(server)
    with database.connect() as connection:
        space = open_space(connection, "m", dimensions)
        files = [corpus.file(number) for number in range(rows // FILE_CHUNKS)]
        own(connection, files)
        load_all(database, space, corpus, files, 1_000)
        (report,) = maintain_index(database)
        fill_flat(connection, corpus, "flat")
        connection.execute("SET maintenance_work_mem = '1GB'")
        connection.execute("CREATE INDEX ON flat USING hnsw (embedding vector_cosine_ops)")
        connection.execute("VACUUM ANALYZE")
        print(f"\n{dimensions} dimensions, {rows:,} rows, indexed (recall@10 {report.recall or 0:.3f})\n")
        _measure_searches(connection, corpus)
        _measure_edits(connection, space, files[7])
    drop(server, database)


def _measure_searches(connection: Connection, corpus: Corpus) -> None:
    connection.execute("SET hnsw.ef_search = 100")
    print("| search, k = 10 | p50 ms |\n| --- | ---: |")
    times: dict[str, list[float]] = {"flat": [], "document_chunks": []}
    for vector in corpus.vectors[:: max(1, len(corpus.vectors) // 300)]:
        for table, taken in times.items():
            statement = f"SELECT source, page_content FROM {table} ORDER BY embedding <=> %s LIMIT 10".encode()
            taken.append(seconds_of(lambda s=statement, v=vector: connection.execute(s, (v,)).fetchall()))
    for table, taken in times.items():
        print(f"| {table} | {statistics.median(taken) * 1_000:.2f} |")


def _measure_edits(connection: Connection, space: Space, file: SourceRows) -> None:
    texts, hashes = [c.page_content for c in file.chunks], [c.content_hash for c in file.chunks]

    def reload_flat() -> None:
        with connection.transaction():
            connection.execute(
                "CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM flat WHERE source = %s", (file.path,)
            )
            connection.execute("DELETE FROM flat WHERE source = %s", (file.path,))
            connection.execute("INSERT INTO flat SELECT * FROM kept")

    whole = seconds_of(reload_flat)
    print(f"\n| edit of a file of {FILE_CHUNKS:,} chunks | ms | of delete-and-reload |\n| --- | ---: | ---: |")
    print(f"| delete and reload, flat indexed table | {whole * 1_000:,.0f} | 1 |")
    for name in ("one chunk replaced", "a paragraph inserted at the top"):
        taken = []
        for turn in range(5):
            text = f"{name} {turn}"
            new = hashlib.blake2b(text.encode(), digest_size=16).digest()
            start = 0 if "inserted" in name else 500
            kept = start if "inserted" in name else start + 1
            texts[start:kept], hashes[start:kept] = [text], [new]
            edited = rows_of(file.path, texts, hashes)
            vector = np.ones((1, space.dimensions), dtype=np.float32)

            def edit(new: bytes = new, vector: Vectors = vector, edited: SourceRows = edited) -> None:
                store_vectors(connection, space, [new], vector)
                load_sources(connection, "A", [edited])

            taken.append(seconds_of(edit))
        print(f"| {name} | {statistics.median(taken) * 1_000:.1f} | 1/{whole / statistics.median(taken):.0f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--corpus", type=int, default=50_000)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[256, 1_536])
    parser.add_argument("--peers", type=Path, help="folder of the virtual environment of the other libraries")
    arguments = parser.parse_args()
    if arguments.peers and not (arguments.peers / "bin" / "python").exists():
        venv.create(arguments.peers, with_pip=True)
        subprocess.run([str(arguments.peers / "bin" / "pip"), "install", "-q", *PEER_PACKAGES, "numpy"], check=True)
    with tempfile.TemporaryDirectory() as home, EmbeddedServer.start(Path(home)) as server:
        for dimensions in arguments.dimensions:
            measure_loads(server, arguments.rows, dimensions, arguments.peers)
        for dimensions in arguments.dimensions if arguments.corpus else ():
            measure_corpus(server, arguments.corpus, dimensions)


if __name__ == "__main__":
    main()
