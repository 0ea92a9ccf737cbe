"""How fast vectors and rows are loaded, replaced and searched, beside the server's own COPY and other people's ways.

    python benchmarks/load.py [--only loads searches edits] [--dimensions 256 1536] [--peers FOLDER] [--words]

Starts an embedded server of its own. What is compared takes turns within one run, so that ratios hold on a machine
that is slower at times; medians are printed. With --peers, Django, LangChain, LlamaIndex and pgai are installed
into virtual environments in FOLDER (kept and used again) and load the same kind of rows. The figures are in
docs/benchmarks/load.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import venv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from psycopg.types.json import Jsonb

from vector_pipeline.store.binary import Vectors
from vector_pipeline.store.chunks import SourceRows, StoredChunk
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.rows import load_sources
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.space import Space
from vector_pipeline.store.spaces import open_space
from vector_pipeline.store.vectors import store_vectors

PARTS = ("loads", "searches", "edits")
# Environments of the other libraries: what is installed, and what is measured in them. pgai wants other versions.
PEERS = {
    "stores": (
        ("django", "langchain-postgres", "llama-index-vector-stores-postgres", "psycopg[binary]", "pgvector", "numpy"),
        ("django", "langchain", "llama_index"),
    ),
    "pgai": (("pgai[vectorizer-worker]",), ("pgai",)),
}
FILE_CHUNKS = 1_000
ANSWER = 100
PEER_ROWS = 3_000
REPEATS = 5
EDITS = 15
QUERIES = 300
NEAREST = 10

FLAT = (
    "CREATE TABLE {name} (id uuid PRIMARY KEY, source text NOT NULL, chunk_index int NOT NULL, page_content text NOT "
    "NULL, metadata jsonb NOT NULL, content_hash uuid NOT NULL, embedding vector({dimensions}) NOT NULL, "
    "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now())"
)

SERVER_COPY = "server-side COPY, one flat table"
OWN_INDEXES = ("(source)", "(content_hash)")
OF_WORDS = "USING gin (to_tsvector('english', page_content))"
COPIES = {
    SERVER_COPY: OWN_INDEXES,
    f"{SERVER_COPY}, primary key only": (),
    f"{SERVER_COPY}, with a GIN index of its words": (*OWN_INDEXES, OF_WORDS),
}

VOCABULARY = 50_000
WORDS_IN_TEXT = 215


class Corpus:
    """Files of 1,000 chunks of about 1.5 KB, and random vectors in clusters, shape (rows, dimensions), float32.

    A text is a number, and one word of 1,500 hexadecimal digits, or with `words` words that are drawn by Zipf's law.
    """

    def __init__(self, rows: int, dimensions: int, *, words: bool = False) -> None:
        random = np.random.default_rng(1)
        basis = random.standard_normal((32, dimensions), dtype=np.float32)
        centres = random.standard_normal((200, 32), dtype=np.float32)
        points = centres[random.integers(0, 200, rows)] + 0.5 * random.standard_normal((rows, 32), dtype=np.float32)
        vectors = points @ basis
        self.vectors: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        draw = _words(random) if words else lambda: random.bytes(750).hex()
        self.texts = [f"{i} {draw()}" for i in range(rows)]
        self.hashes = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in self.texts]

    def file(self, number: int) -> SourceRows:
        """One file of the corpus."""
        place = slice(number * FILE_CHUNKS, (number + 1) * FILE_CHUNKS)
        return rows_of(f"{number}.txt", self.texts[place], self.hashes[place])


def _words(random: np.random.Generator) -> Callable[[], str]:
    """A function that draws the words of a text, as in benchmarks/scale.py."""
    letters = random.integers(0, 26, (VOCABULARY, 9)).astype(np.uint8) + ord("a")
    words = [row[: 3 + i % 7].tobytes().decode() for i, row in enumerate(letters)]
    weights = 1 / (np.arange(VOCABULARY) + 2.7)
    cumulative = np.cumsum(weights / weights.sum())
    return lambda: " ".join(words[place] for place in np.searchsorted(cumulative, random.random(WORDS_IN_TEXT)))


def rows_of(path: str, texts: list[str], hashes: list[bytes]) -> SourceRows:
    """A file of the given chunks."""
    chunks = [
        StoredChunk("", i, i * 2_000, i * 2_000 + len(text), text, '{"a": 1}', 400, h)
        for i, (text, h) in enumerate(zip(texts, hashes, strict=True))
    ]
    key = hashlib.blake2b(path.encode(), digest_size=16).digest()
    return SourceRows(key, path, "1", "utf-8", 1, "p", chunks)


def fresh_database(server: EmbeddedServer) -> Database:
    """An empty database with the pipeline's tables."""
    name = f"load_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        database = Database(server.url.replace("@/postgres?", f"@/{name}?"))
        migrate(database)
        # What was written before is not to be waited for by what is measured next.
        connection.execute("CHECKPOINT")
        os.sync()
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
    database: Database, space: Space, corpus: Corpus, files: list[SourceRows], at_once: int, runs: int = 2
) -> float:
    """Each run, a process of its own, takes a file, stores its vectors, `at_once` in a commit, and loads its rows.

    Two runs side by side are what the daemon makes of waiting arrivals by default. Returns the seconds from when all
    are connected.
    """
    processes = multiprocessing.get_context("fork")  # what is loaded comes along
    connected, taken = processes.Barrier(runs + 1), processes.Value("i", 0)

    def load() -> None:
        with database.connect() as connection:
            connected.wait()
            while True:
                with taken.get_lock():
                    number, taken.value = taken.value, taken.value + 1
                if number >= len(files):
                    return
                for start in range(number * FILE_CHUNKS, (number + 1) * FILE_CHUNKS, at_once):
                    place = slice(start, start + at_once)
                    store_vectors(connection, space, corpus.hashes[place], corpus.vectors[place])
                load_sources(connection, "A", [files[number]])

    workers = [processes.Process(target=load) for _ in range(runs)]
    for worker in workers:
        worker.start()
    connected.wait(30)
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - began
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a load failed")
    return seconds


def create_flat(connection: Connection, name: str, dimensions: int, indexes: Sequence[str] = OWN_INDEXES) -> None:
    """One flat default table and its indexes.

    The default ones are b-trees that the pipeline's own table has too: a file's rows, and those of a text, are found by
    them.
    """
    connection.execute(FLAT.format(name=name, dimensions=dimensions).encode())
    for index in indexes:
        connection.execute(f"CREATE INDEX ON {name} {index}".encode())


def fill_flat(connection: Connection, corpus: Corpus, name: str) -> None:
    """The corpus in a flat table, as a client's binary COPY writes it."""
    create_flat(connection, name, corpus.vectors.shape[1])
    for number in range(0, len(corpus.texts), FILE_CHUNKS):
        place = slice(number, number + FILE_CHUNKS)
        path = f"{number // FILE_CHUNKS}.txt"
        copy_flat(connection, name, path, corpus.texts[place], corpus.hashes[place], corpus.vectors[place])


def copy_flat(
    connection: Connection, name: str, path: str, texts: list[str], hashes: list[bytes], vectors: Vectors
) -> None:
    """The rows of one file into the flat table."""
    if "vector" not in {info.name for info in connection.adapters.types}:
        register_vector(connection)
    statement = (
        f"COPY {name} (id, source, chunk_index, page_content, metadata, content_hash, embedding) FROM STDIN BINARY"
    )
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.set_types(["uuid", "text", "int4", "text", "jsonb", "uuid", "vector"])
        for index, (text, h, vector) in enumerate(zip(texts, hashes, vectors, strict=True)):
            copy.write_row((uuid.uuid4(), path, index, text, Jsonb({"a": 1}), uuid.UUID(bytes=h), vector))


def measure_loads(server: EmbeddedServer, rows: int, dimensions: int, peers: Path | None, *, words: bool) -> None:
    """Rows a second of each way, which take turns."""
    corpus = Corpus(rows, dimensions, words=words)
    files = [corpus.file(number) for number in range(rows // FILE_CHUNKS)]
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        copied = _written_out(server, corpus, Path(folder))
        for _ in range(REPEATS):
            for name, indexes in COPIES.items():
                database = fresh_database(server)
                with database.connect() as connection:
                    create_flat(connection, "flat", dimensions, indexes)
                    copy = partial(connection.execute, f"COPY flat FROM '{copied}' (FORMAT BINARY)".encode())
                    found.setdefault(name, []).append(rows / seconds_of(copy))
                drop(server, database)
            for name, at_once, runs in (
                ("this pipeline, bulk, two runs", FILE_CHUNKS, 2),
                ("this pipeline, bulk, one run", FILE_CHUNKS, 1),
                (f"this pipeline, {ANSWER} vectors a commit, two runs", ANSWER, 2),
                (f"this pipeline, {ANSWER} vectors a commit, one run", ANSWER, 1),
            ):
                database = fresh_database(server)
                with database.connect() as connection:
                    space = open_space(connection, "m", dimensions)
                    own(connection, files)
                    seconds = load_all(database, space, corpus, files, at_once, runs)
                    found.setdefault(name, []).append(rows / seconds)
                drop(server, database)
            for environment, (_, names) in PEERS.items() if peers else ():
                python = peers / environment / "bin" / "python" if peers else None
                for name in names:
                    if rate := _peer(server, str(python), name, dimensions, min(rows, PEER_ROWS)):
                        found.setdefault(name, []).append(rate)
    base = statistics.median(found[SERVER_COPY])
    of = "words" if words else "digits"
    print(f"\n{dimensions} dimensions, {rows:,} rows of {of}\n")
    print("| way | rows/s | of the server's COPY |\n| --- | ---: | ---: |")
    for name, rates in found.items():
        print(f"| {name} | {statistics.median(rates):,.0f} | {statistics.median(rates) / base:.3f} |")


def _written_out(server: EmbeddedServer, corpus: Corpus, folder: Path) -> Path:
    """The rows of the flat table in a file, as the server's COPY reads them."""
    folder.chmod(0o777)  # the server writes it, as its own user
    database = fresh_database(server)
    with database.connect() as connection:
        fill_flat(connection, corpus, "flat")
        connection.execute(f"COPY flat TO '{folder}/rows' (FORMAT BINARY)".encode())
    drop(server, database)
    return folder / "rows"


def _peer(server: EmbeddedServer, python: str, name: str, dimensions: int, rows: int) -> float | None:
    """Rows a second of another library, in a process of its own Python; None where it fails."""
    database = fresh_database(server)
    command = [python, str(Path(__file__).with_name("load_peers.py")), database.url, str(dimensions), str(rows), name]
    environment = os.environ | {"PGPASSWORD": unquote(urlsplit(database.url).password or "")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    drop(server, database)
    if done.returncode != 0:
        print(f"{name} failed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure_corpus(server: EmbeddedServer, rows: int, dimensions: int, only: Sequence[str]) -> None:
    """Searches, and edits of one file, in an indexed corpus beside a flat indexed table."""
    corpus = Corpus(rows, dimensions)
    database = fresh_database(server)
    with database.connect() as connection:
        space = open_space(connection, "m", dimensions)
        files = [corpus.file(number) for number in range(rows // FILE_CHUNKS)]
        own(connection, files)
        load_all(database, space, corpus, files, FILE_CHUNKS)
        maintain_index(database)
        fill_flat(connection, corpus, "flat")
        connection.execute("SET maintenance_work_mem = '4GB'")
        connection.execute("CREATE INDEX ON flat USING hnsw (embedding vector_cosine_ops)")
        connection.execute("VACUUM ANALYZE")
        print(f"\n{dimensions} dimensions, {rows:,} rows, indexed")
        if "searches" in only:
            _measure_searches(connection, corpus)
        if "edits" in only:
            _measure_edits(database, connection, space, corpus)
    drop(server, database)


SEARCHES = {
    "flat table": "SELECT {hash} source, page_content FROM flat ORDER BY embedding <=> %s::vector LIMIT 10",
    "`document_chunks`": (
        "SELECT {hash} source, page_content FROM document_chunks ORDER BY embedding <=> %s::vector LIMIT 10"
    ),
    "`document_chunks`, with places": (
        "SELECT {hash} source, page_content, chunk_index, start_char, end_char FROM document_chunks "
        "ORDER BY embedding <=> %s::vector LIMIT 10"
    ),
}


def _measure_searches(connection: Connection, corpus: Corpus) -> None:
    connection.execute("SET hnsw.ef_search = 100")
    connection.execute("SET hnsw.iterative_scan = 'relaxed_order'")
    times: dict[str, list[float]] = {name: [] for name in SEARCHES}
    right = dict.fromkeys(SEARCHES, 0)
    random = np.random.default_rng(2)
    names = list(SEARCHES)
    for vector in corpus.vectors[:: max(1, len(corpus.vectors) // QUERIES)]:
        # Near a chunk and not its own vector, as a question is.
        noise = random.standard_normal(len(vector), dtype=np.float32)
        query = vector + 0.3 * noise / np.linalg.norm(noise)
        nearest = {corpus.hashes[i] for i in np.argsort(corpus.vectors @ -query)[:NEAREST]}
        random.shuffle(names)  # the first to run reads the pages from disk for the others
        for name in names:
            statement = SEARCHES[name].format(hash="")
            times[name].append(seconds_of(partial(_fetch, connection, statement, query)))
            rows = _fetch(connection, SEARCHES[name].format(hash="content_hash,"), query)
            right[name] += len(nearest & {row[0].bytes for row in rows})
    base = statistics.median(times["flat table"])
    print("\n| search, k = 10 | p50 ms | of the flat table's | recall@10 |\n| --- | ---: | ---: | ---: |")
    for name, taken in times.items():
        recall = right[name] / (len(taken) * NEAREST)
        print(
            f"| {name} | {statistics.median(taken) * 1_000:.2f} | {statistics.median(taken) / base:.2f} | {recall:.3f} |"
        )


def _fetch(connection: Connection, statement: str, query: object) -> list[Any]:
    return connection.execute(statement.encode(), (query,)).fetchall()


def _measure_edits(database: Database, connection: Connection, space: Space, corpus: Corpus) -> None:
    """Edits of a file through the pipeline, and by turns the same file deleted and copied again in the flat table."""
    place = slice(7 * FILE_CHUNKS, 8 * FILE_CHUNKS)
    texts, hashes, vectors = corpus.texts[place], corpus.hashes[place], corpus.vectors[place]
    name = corpus.file(7).path
    taken: dict[str, list[float]] = {}
    written: dict[str, list[int]] = {}
    random = np.random.default_rng(3)

    def reload_flat() -> None:
        with connection.transaction():
            connection.execute("DELETE FROM flat WHERE source = %s", (name,))
            copy_flat(connection, "flat", name, corpus.texts[place], corpus.hashes[place], vectors)

    def edit(what: str) -> float:
        text = f"{what} {uuid.uuid4()} " + random.bytes(750).hex()
        new = hashlib.blake2b(text.encode(), digest_size=16).digest()
        start = 0 if what == "a paragraph inserted at the top" else int(random.integers(0, len(texts)))
        kept = start if what == "a paragraph inserted at the top" else start + 1
        texts[start:kept], hashes[start:kept] = [text], [new]
        edited = rows_of(name, texts, hashes)
        vector = random.standard_normal((1, space.dimensions), dtype=np.float32)
        began = time.perf_counter()
        stored = store_vectors(connection, space, [new], vector)
        outcome = load_sources(connection, "A", [edited])
        seconds = time.perf_counter() - began
        written.setdefault(what, []).append(outcome.written)
        assert stored == 1, stored
        assert outcome.rows == len(texts), outcome
        return seconds

    for turn in range(EDITS):
        if turn % 3 == 0:
            taken.setdefault("delete and copy again, flat", []).append(seconds_of(reload_flat))
        for what in ("one chunk replaced", "a paragraph inserted at the top"):
            taken.setdefault(what, []).append(edit(what))
    base = statistics.median(taken["delete and copy again, flat"])
    print(f"\n| edit of a file of {FILE_CHUNKS:,} chunks | ms | of delete-and-reload | rows written, at most |")
    print("| --- | ---: | ---: | ---: |")
    for what, seconds in taken.items():
        ms = statistics.median(seconds) * 1_000
        print(f"| {what} | {ms:,.1f} | 1/{base * 1_000 / ms:.0f} | {max(written.get(what, [2 * FILE_CHUNKS]))} |")
    (report,) = maintain_index(database)
    print(f"\n{2 * EDITS} edits brought {report.moved} entries under the index.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rows", type=int, default=20_000, help="rows that are loaded")
    parser.add_argument("--corpus", type=int, default=50_000, help="rows that are searched and edited")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[256, 1_536])
    parser.add_argument("--peers", type=Path, help="folder of the virtual environment of the other libraries")
    parser.add_argument("--words", action="store_true", help="load texts of words in place of hexadecimal digits")
    arguments = parser.parse_args()
    for environment, (packages, _) in PEERS.items() if arguments.peers else ():
        folder = arguments.peers / environment
        if not (folder / "bin" / "python").exists():
            venv.create(folder, with_pip=True)
            subprocess.run([str(folder / "bin" / "pip"), "install", "-q", *packages], check=True)
    with tempfile.TemporaryDirectory() as home, EmbeddedServer.start(Path(home)) as server:
        for dimensions in arguments.dimensions:
            if "loads" in arguments.only:
                measure_loads(server, arguments.rows, dimensions, arguments.peers, words=arguments.words)
            if {"searches", "edits"} & set(arguments.only):
                measure_corpus(server, arguments.corpus, dimensions, arguments.only)


if __name__ == "__main__":
    main()
