"""Ranking by words: how soon, how exactly, and in how much room, beside an exact BM25 library.

Texts are drawn from a vocabulary of 500,000 made-up words by Zipf's law, 60 to 260 words each. Questions have one word
that is in a tenth to a third of all texts, two medium ones and two rare ones; or common words alone. The library ranks
the same terms; install it with `pip install bm25s`, or leave it out with --no-library. It ranks them again after texts
were deleted, loaded again and added.

With --folder the texts are those of the files there (natural text, .md, .rst and .txt), and only the room that the index
takes is printed: by table, beside that of the text itself.

    python -m benchmarks.lexical [--texts 100000] [--questions 100] [--no-library] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from vector_pipeline.store.binary import UuidArray
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.lexical.landing import land_terms
from vector_pipeline.store.lexical.maintenance import maintain_lexical
from vector_pipeline.store.lexical.segments import flush_landing
from vector_pipeline.store.schema import migrate
from vector_pipeline.store.search.by_words import WordSearch
from vector_pipeline.store.search.filters import Filter, Passing
from vector_pipeline.store.search.hybrid import snapshot
from vector_pipeline.text.terms import Query, frequencies

VOCABULARY = 500_000
LOADED_AT_ONCE = 1_000
LANDED = 900
SEED = 7


def words() -> list[str]:
    """Made-up words of three to eleven letters, the frequent ones shorter."""
    random = np.random.default_rng(SEED)
    letters = random.integers(0, 26, (VOCABULARY, 11)).astype(np.uint8) + ord("a")
    lengths = np.clip(2 + np.log2(np.arange(VOCABULARY) + 2) / 2 + random.integers(0, 4, VOCABULARY), 3, 11).astype(int)
    # A number at its end keeps every word itself: no ending is taken off.
    return [f"{row[:n].tobytes().decode()}{i % 10}" for i, (row, n) in enumerate(zip(letters, lengths, strict=True))]


def texts(count: int, vocabulary: list[str]) -> Iterator[str]:
    random = np.random.default_rng(SEED + 1)
    weights = 1 / (np.arange(VOCABULARY) + 2.7)
    cumulative = np.cumsum(weights / weights.sum())
    for _ in range(0, count, LOADED_AT_ONCE):
        sizes = random.integers(60, 261, LOADED_AT_ONCE)
        drawn = np.searchsorted(cumulative, random.random(int(sizes.sum())))
        start = 0
        for size in sizes:
            yield " ".join([vocabulary[i] for i in drawn[start : start + size]])
            start += size


def natural_texts(folder: Path, characters: int) -> Iterator[str]:
    """Paragraphs of files, as many together as come to so many characters."""
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".md", ".mdx", ".rst", ".txt"):
            continue
        text = ""
        for paragraph in path.read_text("utf-8", errors="ignore").replace("\0", "").split("\n\n"):
            for start in range(0, len(paragraph), characters):
                piece = paragraph[start : start + characters]
                if text and len(text) + len(piece) > characters:
                    yield text
                    text = ""
                text = f"{text}\n\n{piece}" if text else piece
        if text.strip():
            yield text


def sizes(connection: Connection, corpus: list[str]) -> str:
    """The room of the index, by table, beside that of the text."""
    found = connection.execute(
        "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relname LIKE 'lexical%' AND relkind = 'r' "
        "ORDER BY 2 DESC"
    ).fetchall()
    of_text = sum(len(text.encode()) for text in corpus)
    total = sum(size for _, size in found)
    tables = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in found)
    return f"text {of_text / 2**20:.1f} MiB, index {total / 2**20:.1f} MiB, {total / of_text:.2f} of it: {tables}"


def load(connection: Connection, corpus: list[str]) -> float:
    """Insert chunk rows of the texts, and their terms; returns the seconds that the terms took."""
    seconds = 0.0
    for start in range(0, len(corpus), LOADED_AT_ONCE):
        batch = {
            hashlib.blake2b(text.encode(), digest_size=16).digest(): text
            for text in corpus[start : start + LOADED_AT_ONCE]
        }
        with connection.transaction():
            with connection.cursor().copy(
                "COPY chunks (id, source_key, source, document_id, chunk_index, start_char, end_char, page_content, "
                "metadata, token_count, content_hash) FROM STDIN"
            ) as copy:
                for number, (key, text) in enumerate(batch.items()):
                    copy.write_row(
                        (key.hex(), bytes(16).hex(), "a.txt", "a.txt", number, 0, 1, text, "{}", 1, key.hex())
                    )
            began = time.perf_counter()
            land_terms(connection, batch)
            seconds += time.perf_counter() - began
        if start % 50_000 == 49_000:
            began = time.perf_counter()
            flush_landing(connection)
            print(f"  {start + LOADED_AT_ONCE:,} texts; flush {time.perf_counter() - began:.1f} s", flush=True)
    return seconds


def questions(count: int, vocabulary: list[str], corpus: list[str]) -> dict[str, list[list[str]]]:
    random = np.random.default_rng(SEED + 2)
    document_frequency = Counter(word for text in corpus[:20_000] for word in set(text.split()))
    of = min(20_000, len(corpus))
    common = [w for w, n in document_frequency.items() if 0.1 < n / of < 0.35]
    medium = [w for w, n in document_frequency.items() if 0.005 < n / of < 0.05]
    rare = [w for w, n in document_frequency.items() if 2 <= n < 10]

    def draw(pool: list[str], n: int) -> list[str]:
        return [str(word) for word in random.choice(np.array(pool), n, replace=False)]

    return {
        "one common, two medium, two rare": [draw(common, 1) + draw(medium, 2) + draw(rare, 2) for _ in range(count)],
        "three common, two medium": [draw(common, 3) + draw(medium, 2) for _ in range(count)],
        "four common": [draw(common, 4) for _ in range(count)],
    }


def search(connection: Connection, terms: list[str], k: int = 10) -> list[bytes]:
    with snapshot(connection):
        return [key for key, _ in WordSearch(connection, Query(tuple(terms)), Passing(Filter(), None)).best(k)]


def change(connection: Connection, corpus: list[str], new: list[str]) -> list[str]:
    """Delete a twentieth of the texts, load a third of those again, and load new ones; returns all that are there.

    Nothing is merged afterwards: the deleted texts stay in their segments, and the new ones in the landing table.
    """
    deleted = corpus[::20]
    connection.execute(
        "WITH gone AS (DELETE FROM chunks WHERE content_hash = ANY(%s) RETURNING content_hash) "
        "INSERT INTO unreferenced_hashes (content_hash) SELECT content_hash FROM gone",
        (UuidArray(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in deleted),),
    )
    load(connection, [*deleted[::3], *new])
    gone = set(deleted) - set(deleted[::3])
    return [text for text in (*corpus, *new) if text not in gone]


def report(connection: Connection, corpus: list[str], asked: dict[str, list[list[str]]], library: bool) -> None:
    hashes = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in corpus]
    exact = None
    if library:
        import bm25s

        exact = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
        ids: dict[str, int] = {}
        tokens = [[ids.setdefault(w, len(ids)) for w in text.split()] for text in corpus]
        exact.index((tokens, ids), show_progress=False)
    for title, queries in asked.items():
        times, overlap = [], []
        for terms in queries:
            began = time.perf_counter()
            found = search(connection, terms)
            times.append((time.perf_counter() - began) * 1_000)
            if exact is not None:
                scores = exact.get_scores(terms)
                # Texts that tie with the tenth are as good as it.
                tenth = np.sort(scores)[-10] - 1e-6
                good = {hashes[i] for i in np.flatnonzero(scores >= tenth)}
                overlap.append(len(good & set(found)) / 10)
        line = f"{title}: p50 {np.percentile(times, 50):.1f} ms, p95 {np.percentile(times, 95):.1f} ms"
        print(line + (f", overlap@10 {np.mean(overlap):.3f}" if overlap else ""), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--no-library", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--characters", type=int, default=1_600, help="of a natural text")
    arguments = parser.parse_args()
    vocabulary = words()
    if arguments.folder:
        corpus = list(dict.fromkeys(islice(natural_texts(arguments.folder, arguments.characters), arguments.texts)))
    else:
        corpus = list(texts(arguments.texts + LOADED_AT_ONCE, vocabulary))
    corpus, new = corpus[: arguments.texts], corpus[arguments.texts :][:LANDED]
    began = time.perf_counter()
    for text in corpus[:5_000]:
        frequencies(text)
    print(f"cutting: {(time.perf_counter() - began) / len(corpus[:5_000]) * 1e6:.0f} us a text")
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer.start(Path(folder))
        try:
            database = Database(server.url)
            migrate(database)
            with database.connect() as connection:
                print(f"landing: {load(connection, corpus) / len(corpus) * 1e6:.0f} us a text, cutting included")
                began = time.perf_counter()
                print(maintain_lexical(database), f"{time.perf_counter() - began:.1f} s")
                print(sizes(connection, corpus))
                if arguments.folder:
                    return
                asked = questions(arguments.questions, vocabulary, corpus)
                report(connection, corpus, asked, not arguments.no_library)
                print("5 % deleted, a third of them loaded again, new texts landed and not merged:")
                report(connection, change(connection, corpus, new), asked, not arguments.no_library)
        finally:
            server.close()


if __name__ == "__main__":
    main()
