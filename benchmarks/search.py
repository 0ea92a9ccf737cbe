"""Searches at size: how long they take by words, by meaning and by both, also under filters, and how exact they are.

    python -m benchmarks.search [--texts 100000] [--dimensions 256] [--keep FOLDER] [--questions 100] [--only PART ...]

The table is filled by the code that a run loads with, in files of 20 chunks, with neither Dagster nor a model: vectors
are random points in clusters, seeded. Three quarters of the texts have 60 to 260 words, drawn by Zipf's law from 300,000
made-up words. The others are Korean: stems of one to four syllables with particles. With --keep the filled table stays
in FOLDER, and the next run with the same figures measures it again. Each figure is printed as soon as it is known.

A search is that of `Corpus.search` after the question has a vector: the result has texts, places and scores.

Parts: `questions` (each kind in each mode), `filters` (of several shares), `sql` (the function search_chunks), `exact`
(results under filters beside those of reading everything).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vector_pipeline.store.binary import Vectors
from vector_pipeline.store.chunks import SourceRows, StoredChunk
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.index import maintain_index
from vector_pipeline.store.lexical.maintenance import maintain_lexical
from vector_pipeline.store.lexical.ranking import rank_words
from vector_pipeline.store.manifest import source_key
from vector_pipeline.store.rows import load_sources
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.search.filters import Filter
from vector_pipeline.store.search.hybrid import Mode, Question, search, snapshot
from vector_pipeline.store.search.results import SearchResult
from vector_pipeline.store.spaces import open_space
from vector_pipeline.store.vectors import store_vectors
from vector_pipeline.text.documents import content_hash
from vector_pipeline.text.terms import parse_query

SEED = 11
CHUNKS_PER_FILE = 20
FILES_AT_ONCE = 50
BLOCK = CHUNKS_PER_FILE * FILES_AT_ONCE
ENGLISH_WORDS, KOREAN_WORDS = 300_000, 60_000
SYLLABLES = 800
PARTICLES = ("", "은", "는", "이", "가", "을", "를", "에", "의", "으로", "에서", "와")
# Clusters in so many dimensions, as in benchmarks/load.py.
CLUSTERS, INNER = 200, 32
LOADERS = 2
K = 10
FEW = 10

PARTS = ("questions", "filters", "sql", "exact")
MODES: tuple[Mode, ...] = ("words", "meaning", "hybrid")


class Writer:
    """Makes texts, and questions of words that are as frequent as is wanted."""

    def __init__(self) -> None:
        random = np.random.default_rng(SEED)
        self.english = _english(random)
        self.korean = _korean(random)
        self._cumulative = {len(words): _zipf(len(words)) for words in (self.english, self.korean)}

    def texts(self, block: int) -> list[str]:
        """The texts of a block; those of the last five files of every twenty are Korean."""
        random = np.random.default_rng((SEED, 1, block))
        return [
            self._text(random, is_korean=place // CHUNKS_PER_FILE % 20 >= 15, number=block * BLOCK + place)
            for place in range(BLOCK)
        ]

    def _text(self, random: np.random.Generator, *, is_korean: bool, number: int) -> str:
        words = self.korean if is_korean else self.english
        size = int(random.integers(40, 171) if is_korean else random.integers(60, 261))
        drawn = np.searchsorted(self._cumulative[len(words)], random.random(size)).tolist()
        if not is_korean:
            return f"{' '.join([words[i] for i in drawn])} n{number}"
        endings = random.integers(0, len(PARTICLES), size).tolist()
        return f"{' '.join([words[i] + PARTICLES[e] for i, e in zip(drawn, endings, strict=True)])} n{number}"


def _english(random: np.random.Generator) -> list[str]:
    letters = random.integers(0, 26, (ENGLISH_WORDS, 11)).astype(np.uint8) + ord("a")
    shown = 2 + np.log2(np.arange(ENGLISH_WORDS) + 2) / 2 + random.integers(0, 4, ENGLISH_WORDS)
    sizes = np.clip(shown, 3, 11).astype(int)
    # A number at its end keeps every word itself: no ending is removed.
    return [f"{row[:n].tobytes().decode()}{i % 10}" for i, (row, n) in enumerate(zip(letters, sizes, strict=True))]


def _korean(random: np.random.Generator) -> list[str]:
    syllables = [chr(code) for code in random.choice(np.arange(0xAC00, 0xD7A4), SYLLABLES, replace=False)]
    drawn = np.searchsorted(_zipf(SYLLABLES), random.random((KOREAN_WORDS, 4)))
    sizes = random.integers(1, 5, KOREAN_WORDS)
    return ["".join(syllables[i] for i in row[:n]) for row, n in zip(drawn, sizes, strict=True)]


def _zipf(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    weights = 1 / (np.arange(count) + 2.7)
    return np.asarray(np.cumsum(weights / weights.sum()))


class Points:
    """Makes unit vectors in clusters, float32. A question is near a text of the corpus."""

    def __init__(self, dimensions: int) -> None:
        random = np.random.default_rng((SEED, 2))
        self._basis = random.standard_normal((INNER, dimensions), dtype=np.float32)
        self._centres = random.standard_normal((CLUSTERS, INNER), dtype=np.float32)

    def block(self, number: int) -> Vectors:
        """The vectors of a block, shape (BLOCK, dimensions)."""
        random = np.random.default_rng((SEED, 3, number))
        inner = self._centres[random.integers(0, CLUSTERS, BLOCK)]
        return _unit((inner + 0.5 * random.standard_normal(inner.shape, dtype=np.float32)) @ self._basis)

    def questions(self, blocks: int, count: int) -> Vectors:
        """Vectors of questions, shape (count, dimensions)."""
        random = np.random.default_rng((SEED, 4))
        near = np.stack([self.block(int(random.integers(blocks)))[int(random.integers(BLOCK))] for _ in range(count)])
        noise = _unit(random.standard_normal(near.shape, dtype=np.float32))
        return _unit(near + 0.3 * noise)


def _unit(vectors: np.ndarray[Any, np.dtype[np.float32]]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Place:
    """A file: what filters find it by."""

    root: str
    path: str
    metadata: Mapping[str, Any]


def place_of(file: int) -> Place:
    """The place of a file. The first one holds 10 texts. One of a hundred, and every other one, can be chosen."""
    if file == 0:
        return Place("/few", "few/0.txt", {"chosen": "few", "percent": -1, "half": -1, "tags": ["new"]})
    root = "/percent" if file % 100 == 7 else "/half" if file % 2 == 0 else "/rest"
    percent, half = file % 100, file % 2
    return Place(root, f"half{half}/p{percent:02}/{file}.txt", {"chosen": "no", "percent": percent, "half": half})


@dataclass(frozen=True, slots=True)
class Limit:
    """A filter, its share of the texts, and whether a file passes it."""

    name: str
    share: str
    filter: Filter
    passes: Callable[[int], bool]


LIMITS = (
    Limit("where", "nothing", Filter(where={"chosen": "none"}), lambda _: False),
    Limit("where", "10 texts", Filter(where={"chosen": "few"}), lambda file: file == 0),
    Limit("where", "1 %", Filter(where={"percent": 7}), lambda file: file % 100 == 7),
    Limit("where", "50 %", Filter(where={"half": 1}), lambda file: file % 2 == 1),
    Limit("source", "nothing", Filter(source="none/*"), lambda _: False),
    Limit("source", "10 texts", Filter(source="few/*"), lambda file: file == 0),
    Limit("source", "1 %", Filter(source="*/p07/*"), lambda file: file % 100 == 7),
    Limit("source", "50 %", Filter(source="half1/*"), lambda file: file % 2 == 1),
    Limit("root", "nothing", Filter(root="/none"), lambda _: False),
    Limit("root", "10 texts", Filter(root="/few"), lambda file: file == 0),
    Limit("root", "1 %", Filter(root="/percent"), lambda file: file % 100 == 7),
    Limit("root", "50 %", Filter(root="/half"), lambda file: file > 0 and file % 2 == 0),
    Limit("where and source", "0.5 %", Filter(source="half1/*", where={"percent": 7}), lambda file: file % 100 == 7),
)


def rows_of_block(writer: Writer, block: int) -> tuple[list[bytes], list[SourceRows]]:
    """The files of a block, and the hashes of its texts."""
    texts = writer.texts(block)
    hashes = [content_hash(text) for text in texts]
    files = []
    for file in range(FILES_AT_ONCE):
        number = block * FILES_AT_ONCE + file
        place = place_of(number)
        first = file * CHUNKS_PER_FILE
        chunks = [
            StoredChunk(
                place.path, i, i * 2_000, i * 2_000 + len(texts[n]), texts[n], json.dumps(place.metadata), 400, hashes[n]
            )
            for i, n in enumerate(range(first, first + (FEW if number == 0 else CHUNKS_PER_FILE)))
        ]
        key = source_key(place.root, place.path).bytes
        files.append(SourceRows(key, place.path, "1", "utf-8", 1, "p", chunks))
    return hashes, files


def fill(database: Database, texts: int, dimensions: int) -> None:
    """Load all texts, build both indexes, and print how long it took."""
    blocks = texts // BLOCK
    with database.connect() as connection:
        open_space(connection, "random", dimensions)
        _enter_files(connection, blocks * FILES_AT_ONCE)
    writer, points = Writer(), Points(dimensions)
    processes = multiprocessing.get_context("fork")
    taken = processes.Value("i", 0)

    def load() -> None:
        with database.connect() as connection:
            space = open_space(connection, "random", dimensions)
            while True:
                with taken.get_lock():
                    block, taken.value = taken.value, taken.value + 1
                if block >= blocks:
                    return
                hashes, files = rows_of_block(writer, block)
                store_vectors(connection, space, hashes, points.block(block))
                load_sources(connection, "A", files)

    began = time.perf_counter()
    workers = [processes.Process(target=load) for _ in range(LOADERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a load failed")
    say(f"loaded {blocks * BLOCK:,} texts in {time.perf_counter() - began:.0f} s")
    for name, maintain in (("lexical index", maintain_lexical), ("vector index", maintain_index)):
        began = time.perf_counter()
        say(f"{name}: {maintain(database, log=say)}, {time.perf_counter() - began:.0f} s")
    with database.connect() as connection:
        began = time.perf_counter()
        connection.execute("VACUUM ANALYZE")  # as autovacuum does soon
        say(f"vacuum {time.perf_counter() - began:.0f} s")


def _enter_files(connection: Connection, files: int) -> None:
    """Enter the files into the manifest, as a scan does."""
    connection.execute("INSERT INTO arrivals (key, root, trigger, files, bytes) VALUES ('A', '/rest', 'cli', 1, 1)")
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY source_files (source_key, root, path, fingerprint, size, arrival, status) FROM STDIN") as copy,
    ):
        for number in range(files):
            place = place_of(number)
            copy.write_row((source_key(place.root, place.path), place.root, place.path, "1", 1, "A", "pending"))


def say(line: str) -> None:
    """Print a line at once."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


class Asked:
    """Questions of each kind, drawn by how frequent their words are."""

    def __init__(self, writer: Writer, blocks: int, count: int) -> None:
        self._random = np.random.default_rng((SEED, 5))
        self._writer = writer
        self._blocks = blocks
        english = self._english
        self.kinds: dict[str, list[str]] = {
            "rare words": [english(3, 20_000, 200_000) for _ in range(count)],
            "mixed": [
                f"{english(1, 3, 25)} {english(2, 300, 3_000)} {english(2, 20_000, 200_000)}" for _ in range(count)
            ],
            "common words": [english(4, 3, 25) for _ in range(count)],
            "the most common words": [english(5, 0, 8) for _ in range(count)],
            "one word": [english(1, 300, 3_000) for _ in range(count)],
            "thirty words": [f"{english(12, 0, 60)} {english(18, 60, 30_000)}" for _ in range(count)],
            "quoted phrase": [f'"{self._phrase()}"' for _ in range(count)],
            "Korean": [self._korean(5) for _ in range(count)],
        }

    def _english(self, count: int, first: int, last: int) -> str:
        """Words of these ranks."""
        ranks = self._random.choice(np.arange(first, last), count, replace=count > last - first)
        return " ".join(self._writer.english[rank] for rank in ranks)

    def _korean(self, count: int) -> str:
        ranks = (KOREAN_WORDS ** self._random.random(count)).astype(int) - 1
        endings = self._random.integers(0, len(PARTICLES), count)
        return " ".join(self._writer.korean[r] + PARTICLES[e] for r, e in zip(ranks, endings, strict=True))

    def _phrase(self) -> str:
        """Three words of a text, in its order."""
        block, place = int(self._random.integers(self._blocks)), int(self._random.integers(15 * CHUNKS_PER_FILE))
        words = self._writer.texts(block)[place].split()
        first = int(self._random.integers(len(words) - 4))
        return " ".join(words[first : first + 3])


@dataclass(slots=True)
class Timed:
    """Times in milliseconds."""

    taken: list[float] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Time a block."""
        began = time.perf_counter()
        yield
        self.taken.append((time.perf_counter() - began) * 1_000)

    def __str__(self) -> str:
        p50, p95 = np.percentile(self.taken, (50, 95))
        return f"{p50:.1f} | {p95:.1f}"


def ask(connection: Connection, text: str, vector: Any, mode: Mode, limits: Filter | None = None) -> list[SearchResult]:
    """A search as a Corpus makes it, with a vector at hand."""
    return search(connection, Question(text, K, mode, limits or Filter()), lambda _: vector)


def measure_questions(connection: Connection, asked: Asked, vectors: Vectors) -> None:
    """Print the times of each kind of question in each mode."""
    say("| question | mode | p50 ms | p95 ms | results |")
    for mode in MODES:
        for kind, questions in asked.kinds.items():
            if mode == "meaning" and kind != "mixed":
                continue
            shown = _timed(connection, questions, vectors, "auto" if kind == "quoted phrase" else mode, None)
            say(f"| {kind} | {mode} | {shown} |")


def measure_filters(connection: Connection, asked: Asked, vectors: Vectors) -> None:
    """Print the times of mixed questions under each filter in each mode."""
    say("| filter | of the texts | mode | p50 ms | p95 ms | results |")
    for limit in LIMITS:
        for mode in MODES:
            shown = _timed(connection, asked.kinds["mixed"], vectors, mode, limit.filter)
            say(f"| {limit.name} | {limit.share} | {mode} | {shown} |")


def _timed(connection: Connection, questions: Sequence[str], vectors: Vectors, mode: Mode, limits: Filter | None) -> str:
    timed, found = Timed(), 0
    for text, vector in zip(questions, vectors, strict=True):
        with timed.one():
            found += len(ask(connection, text, vector, mode, limits))
    return f"{timed} | {found / len(questions):.1f}"


def measure_sql(connection: Connection, asked: Asked, vectors: Vectors) -> None:
    """Print the times of the SQL function, by words and by both."""
    say("| search_chunks | with a vector | p50 ms | p95 ms |")
    for kind, questions in asked.kinds.items():
        for with_vector in (False, True):
            timed = Timed()
            for text, vector in zip(questions[:20], vectors, strict=False):
                with timed.one():
                    connection.execute(
                        "SELECT id, page_content, score FROM search_chunks(%s, %s::vector, %s)",
                        (text, vector if with_vector else None, K),
                    ).fetchall()
            say(f"| {kind} | {'yes' if with_vector else 'no'} | {timed} |")


@dataclass(slots=True)
class Exactness:
    """How right the results under one filter are, a figure for each question."""

    words: list[float] = field(default_factory=list)
    meaning: list[float] = field(default_factory=list)
    results: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{np.mean(self.words):.3f} | {np.mean(self.meaning):.3f} | {min(self.results)} to {max(self.results)}"


def measure_exactness(
    connection: Connection, asked: Asked, vectors: Vectors, points: Points, blocks: int, count: int = 20
) -> None:
    """Print the share of right results under each filter, by words and by meaning, beside reading everything.

    By words every text has its BM25 score; by meaning every vector is compared. Equally good texts are equally right.
    """
    limits = (Limit("none", "all", Filter(), lambda _: True), *LIMITS)
    files = np.arange(blocks * BLOCK) // CHUNKS_PER_FILE
    passing = []
    for limit in limits:
        of_file = np.array([limit.passes(file) for file in range(blocks * FILES_AT_ONCE)])
        passing.append(of_file[files])
        passing[-1][FEW:CHUNKS_PER_FILE] = False  # the first file has only 10 texts
    numbers = _numbers(connection)
    similar = np.concatenate([points.block(block) @ vectors[:count].T for block in range(blocks)]).T
    found = [Exactness() for _ in limits]
    for place, (text, vector) in enumerate(zip(asked.kinds["mixed"][:count], vectors, strict=False)):
        by_words = np.zeros(blocks * BLOCK)
        with snapshot(connection):
            for key, score in rank_words(connection, parse_query(text).terms).best(blocks * BLOCK):
                by_words[numbers[key]] = score
        for limit, passes, one in zip(limits, passing, found, strict=True):
            ours = ask(connection, text, vector, "words", limit.filter)
            one.words.append(_share(by_words * passes, [_number(r) for r in ours], 0.0))
            ours = ask(connection, text, vector, "meaning", limit.filter)
            one.meaning.append(_share(np.where(passes, similar[place], -2.0), [_number(r) for r in ours], -2.0))
            one.results.append(len(ask(connection, text, vector, "hybrid", limit.filter)))
    say("| filter | of the texts | words | meaning | results of hybrid |")
    for limit, one in zip(limits, found, strict=True):
        say(f"| {limit.name} | {limit.share} | {one} |")


def _share(scores: np.ndarray[Any, Any], found: Sequence[int], least: float) -> float:
    """The share of the K best that was found, of those above a score."""
    best = np.sort(scores)[-K:]
    best = best[best > least]
    if not len(best):
        return float(not found)
    return sum(bool(scores[number] >= best[0] - 1e-5) for number in set(found)) / len(best)


def _number(result: SearchResult) -> int:
    """The number of a text, from its place."""
    return int(result.source.rpartition("/")[2].removesuffix(".txt")) * CHUNKS_PER_FILE + result.chunk_index


def _numbers(connection: Connection) -> dict[bytes, int]:
    """The number of each text by its hash."""
    rows = connection.execute("SELECT uuid_send(content_hash), source, chunk_index FROM placed_chunks", binary=True)
    return {
        key: int(source.rpartition("/")[2].removesuffix(".txt")) * CHUNKS_PER_FILE + index for key, source, index in rows
    }


def sizes(connection: Connection) -> str:
    """MiB of each part on disk."""
    parts = {
        "text": "SELECT sum(octet_length(page_content)) FROM chunks",
        "chunks": "SELECT pg_total_relation_size('chunks')",
        "lexical index": "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname LIKE 'lexical%' "
        "AND relkind = 'r'",
        "vectors": "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname LIKE 'embeddings%' "
        "AND relkind = 'r'",
    }
    shown = []
    for name, query in parts.items():
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        shown.append(f"{name} {row[0] / 2**20:,.0f}")
    return f"MiB: {', '.join(shown)}"


def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Fill the table if it is not yet filled, and measure."""
    size = {"texts": arguments.texts, "dimensions": arguments.dimensions}
    done = folder / "filled.json"
    if done.exists() and json.loads(done.read_text()) != size:
        raise SystemExit(f"{folder} holds {done.read_text()}; name another folder")
    blocks = arguments.texts // BLOCK
    with EmbeddedServer.start(folder / "home") as server:
        database = Database(server.url, embedded=True)
        migrate(database)
        if not done.exists():
            fill(database, arguments.texts, arguments.dimensions)
            done.write_text(json.dumps(size))
        with database.connect(row_policies=True) as connection:
            say(sizes(connection))
            points = Points(arguments.dimensions)
            asked = Asked(Writer(), blocks, arguments.questions)
            vectors = points.questions(blocks, arguments.questions)
            if "questions" in arguments.only:
                measure_questions(connection, asked, vectors)
            if "filters" in arguments.only:
                measure_filters(connection, asked, vectors)
            if "sql" in arguments.only:
                measure_sql(connection, asked, vectors)
            if "exact" in arguments.only:
                measure_exactness(connection, asked, vectors, points, blocks)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--keep", type=Path, help="the folder of the filled table")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        run(arguments, arguments.keep)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, Path(folder))


if __name__ == "__main__":
    main()
