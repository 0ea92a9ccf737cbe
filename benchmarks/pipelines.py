"""From a folder of text to a searchable table and back in step, beside other people's ways of doing it.

    python -m benchmarks.pipelines --peers FOLDER [--ways ours,django] [--only edits,kill] [--results FILE]

Each way gets an empty database on one embedded server, an OpenAI-compatible server of its own (in a process of its
own, over real HTTP, with the API's published limits), the same files, and the same size of a chunk. The other libraries
are installed into virtual environments in FOLDER (kept, and used again). Ours runs as a user runs it: `vector-pipeline
ingest` in a process with its environment set. With --results, what was measured is kept in FILE, so that ways and parts
can be run one at a time; what FILE holds is printed as Markdown tables. docs/benchmarks/pipelines.md has the figures.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import venv
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import numpy as np
import psycopg

from vector_pipeline.store.connection import Database
from vector_pipeline.store.embedded.server import EmbeddedServer
from vector_pipeline.store.search.by_vector import search
from vector_pipeline.text.chunking import tokens
from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_documents
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline.text.readers import ReaderOptions, read_documents
from vector_pipeline_tests.support.openai_server import ServerConfig, serve_in_process
from vector_pipeline_tests.support.openai_server.embedding import vector_of
from vector_pipeline_tests.support.openai_server.server import ProcessServer

PARTS = ("edits", "kill", "kill_late", "bad", "search", "limit", "size")
OURS = "ours"
PEERS = ("langchain", "langchain_cached", "llama_index", "cocoindex", "django")
TITLES = {
    OURS: "`vector-pipeline ingest`",
    "langchain": "LangChain `index`",
    "langchain_cached": "the same, CacheBackedEmbeddings",
    "llama_index": "LlamaIndex IngestionPipeline",
    "cocoindex": "CocoIndex",
    "django": "Django tutorial",
}
PACKAGES = {
    "venv": (
        "langchain-core",
        "langchain-classic",
        "langchain-community",
        "langchain-openai",
        "langchain-postgres",
        "langchain-text-splitters",
        "chardet<6",  # langchain-community 0.4.2 does not take the answers of later ones
        "llama-index-core",
        "llama-index-embeddings-openai",
        "llama-index-readers-file",
        "llama-index-storage-docstore-postgres",
        "llama-index-vector-stores-postgres",
        "django",
        "psycopg[binary]",
        "pgvector",
        "tiktoken",
    ),
    "cocoindex": (
        "cocoindex[litellm]",
        "asyncpg",
        "psycopg[binary]",
        "pgvector",
        "langchain-text-splitters",
        "tiktoken",
    ),
}
TOKENS = 400
LATENCY = 0.3
TOKENS_PER_MINUTE = 1_000_000
GIVE_UP_SECONDS = 500.0
KEY = "sk-benchmark"
TOKENIZER = tokenizer_for("text-embedding-3-small")

ENGLISH = re.findall(
    r"\w+",
    "the of and library garden water bread street river evening winter paper letter window morning question answer "
    "keeps opens under over behind small quiet old tools borrowed returned Monday shelf apples market teacher",
)
KOREAN = re.findall(
    r"\w+",
    "도서관은 정원에서 저녁마다 겨울에도 편지를 아침에 질문과 대답을 빵을 강물이 조용히 오래된 도구를 빌려서 돌려주고 "
    "월요일에는 선반에 사과를 시장에서 선생님이 이웃에게 건네며 창문을 연다",
)

Expected = dict[str, list[tuple[str, str]]]
"""By file: each chunk's text, and the text that is sent for it."""


def paragraph(rng: random.Random, least: int, most: int) -> str:
    """Sentences in one language, of about this many tokens."""
    words, end = (ENGLISH, ".") if rng.random() < 0.6 else (KOREAN, "다.")
    wanted = rng.randint(least, most)
    sentences: list[str] = []
    size = 0
    while size < wanted:
        sentence = " ".join(rng.choices(words, k=rng.randint(6, 14))).capitalize() + f" {rng.randint(0, 9999)}{end}"
        count = TOKENIZER.count(" " + sentence)
        if sentences and size + count > most:
            break
        sentences.append(sentence)
        size += count
    return " ".join(sentences)


def make_corpus(folder: Path, files: int) -> None:
    """Files of ten paragraphs that are a chunk each, one or two of them found in other files too; and a long one.

    The long file has 400 paragraphs of 40 to 200 tokens, of which a chunk takes some.
    """
    rng = random.Random(11)
    common = [paragraph(rng, 250, 380) for _ in range(20)]
    for number in range(files):
        own = [paragraph(rng, 250, 380) for _ in range(9 - number % 2)]
        shared = rng.sample(common, 1 + number % 2)
        path = folder / f"{number // 100:02}" / f"{number:04}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join([*own[:4], *shared, *own[4:]]) + "\n")
    (folder / "long.txt").write_text("\n\n".join(paragraph(rng, 40, 200) for _ in range(400)) + "\n")


def change_paragraph(folder: Path) -> None:
    """One paragraph in the middle of one file."""
    path = folder / "00" / "0003.txt"
    parts = path.read_text().split("\n\n")
    parts[2] = paragraph(random.Random(21), 250, 380)
    path.write_text("\n\n".join(parts))


def rename_file(folder: Path) -> None:
    """One file, in its folder."""
    (folder / "00" / "0010.txt").rename(folder / "00" / "renamed.txt")


def delete_files(folder: Path) -> None:
    """Ten files."""
    for number in range(20, 30):
        (folder / "00" / f"{number:04}.txt").unlink()


def insert_at_top(folder: Path) -> None:
    """A paragraph before the first of the long file."""
    path = folder / "long.txt"
    path.write_text(paragraph(random.Random(22), 80, 120) + "\n\n" + path.read_text())


EDITS: dict[str, Callable[[Path], None]] = {
    "nothing changed": lambda _: None,
    "one paragraph changed": change_paragraph,
    "one file renamed": rename_file,
    "ten files deleted": delete_files,
    "a paragraph inserted at the top of a long file": insert_at_top,
}


SIZED = ("first", "nothing changed", "one paragraph changed")


@dataclass
class Place:
    """A way's own database, state and server, on the files it is to bring in step."""

    way: str
    peers: Path | None
    url: str
    folder: Path
    state: Path
    api: ProcessServer

    def command(self, action: str) -> list[str]:
        """The command of the way's process."""
        if self.way == OURS:
            return [str(Path(sys.executable).with_name("vector-pipeline")), "ingest", str(self.folder), "--json"]
        assert self.peers is not None
        python = self.peers / ("cocoindex" if self.way == "cocoindex" else "venv") / "bin" / "python"
        task = {
            "url": self.url,
            "folder": str(self.folder),
            "state": str(self.state),
            "api": self.api.url,
            "vocabulary": str(tokens.vocabulary_file()),
            "pattern": tokens.PATTERN,
        }
        script = Path(__file__).parent / "pipelines_peers" / "run.py"
        return [str(python), str(script), self.way, action, json.dumps(task)]

    @property
    def environment(self) -> dict[str, str]:
        """What the process is started with: nothing of the pipeline's own but what is meant."""
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        quiet = {"PYTHONWARNINGS": "ignore", "ANONYMIZED_TELEMETRY": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "true"}
        if self.way == OURS:
            return kept | {
                "VECTOR_PIPELINE_HOME": str(self.state),
                "DATABASE_URL": self.url,
                "OPENAI_BASE_URL": self.api.url,
                "OPENAI_API_KEY": KEY,
            }
        return kept | quiet | {"PGPASSWORD": unquote(urlsplit(self.url).password or "")}

    def expected(self) -> Expected:
        """What the way's own loader and splitter make of the files as they are now."""
        if self.way == OURS:
            return dict(self._our_chunks())
        done = subprocess.run(self.command("expected"), env=self.environment, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        return {source: [(text, sent) for text, sent in pairs] for source, pairs in found.items()}

    def _our_chunks(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        for path in sorted(self.folder.rglob("*.txt")):
            documents = read_documents(io.BytesIO(path.read_bytes()), path.name, ReaderOptions())
            config = ChunkingConfig(max_tokens=TOKENS)
            found = [c.text for _, chunks in chunk_documents(documents, TOKENIZER, config) for c in chunks]
            yield str(path.relative_to(self.folder)), [(text, text) for text in found]


ROWS = {
    OURS: "SELECT source, page_content, embedding::text FROM document_chunks",
    "langchain": "SELECT langchain_metadata->>'source', content, embedding::text FROM chunks",
    "llama_index": "SELECT metadata_->>'file_path', text, embedding::text FROM data_chunks",
    "cocoindex": "SELECT filename, text, embedding::text FROM chunks",
    "django": "SELECT source, page_content, embedding::text FROM chunks",
}
ROWS["langchain_cached"] = ROWS["langchain"]


def _fetched(place: Place, statement: str) -> list[Any]:
    with psycopg.connect(place.url) as connection:
        try:
            return connection.execute(statement.encode()).fetchall()
        except psycopg.errors.UndefinedTable:
            return []


def rows_of(place: Place) -> list[tuple[str, str, np.ndarray[tuple[int], np.dtype[np.float32]]]]:
    """What the table holds: file, text, vector."""
    folder = f"{place.folder}/"
    rows = _fetched(place, ROWS[place.way])
    return [(s.removeprefix(folder), t, np.fromstring(v[1:-1], np.float32, sep=",")) for s, t, v in rows]


def verdict(place: Place, expected: Expected) -> str:
    """Whether the table holds what a clean run would have put there, each row with its own text's vector."""
    rows = rows_of(place)
    wanted = Counter((source, text) for source, pairs in expected.items() for text, _ in pairs)
    found = Counter((source, text) for source, text, _ in rows)
    sent = {(source, text): sent for source, pairs in expected.items() for text, sent in pairs}
    known = {text: vector_of(text, 1_536) for text in set(sent.values())}
    wrong = sum(
        not np.allclose(vector, known[sent[source, text]], atol=1e-4)
        for source, text, vector in rows
        if (source, text) in sent
    )
    problems = {"missing": (wanted - found).total(), "too many": (found - wanted).total(), "wrong vectors": wrong}
    summary = ", ".join(f"{count:,} {what}" for what, count in problems.items() if count)
    return summary or "right"


def texts_verdict(place: Place) -> str:
    """Like `verdict`, without the vectors: those of a large table do not fit into memory."""
    rows = _fetched(place, ROWS[place.way].replace(", embedding::text", ""))
    folder = f"{place.folder}/"
    found = Counter((source.removeprefix(folder), text) for source, text in rows)
    wanted = Counter((source, text) for source, pairs in place.expected().items() for text, _ in pairs)
    problems = {"missing": (wanted - found).total(), "too many": (found - wanted).total()}
    return ", ".join(f"{count:,} {what}" for what, count in problems.items() if count) or "right"


@dataclass
class Run:
    """What one process of a way took, as the operating system and the server saw it."""

    seconds: float
    cpu: float
    peak_mb: float
    code: int
    error: str
    requests: int = 0
    tokens: int = 0
    again: int = 0
    limited: int = 0
    in_vain: int = 0


def run_way(place: Place, *, kill_after: int | None = None, later: float = 0.0, give_up: float = GIVE_UP_SECONDS) -> Run:
    """Run a way once. If given, it is killed with SIGKILL `later` seconds after this many texts were billed."""
    before = place.api.summary()
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            place.command("ingest"), env=place.environment, cwd=place.state, stdout=output, stderr=output
        )
        status, usage, peak = _wait(process, place.api, kill_after, later, began + give_up)
        seconds = time.perf_counter() - began
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    after = place.api.summary()

    def grown(name: str) -> int:
        return cast(int, after[name]) - cast(int, before[name])

    def limited(summary: dict[str, object]) -> int:
        return cast("dict[str, int]", summary["statuses"]).get("429", 0)

    return Run(
        seconds,
        usage.ru_utime + usage.ru_stime,
        peak,
        code,
        lines[-1][:300] if code and lines else "",
        grown("requests"),
        grown("tokens"),
        grown("inputs") - grown("distinct"),
        limited(after) - limited(before),
        grown("tokens_in_vain"),
    )


def _wait(
    process: subprocess.Popen[bytes], api: ProcessServer, kill_after: int | None, later: float, end: float
) -> tuple[int, Any, float]:
    peak = 0.0
    while True:
        # Not ru_maxrss, which begins with what the parent had when it forked.
        peak = max(peak, _peak_mb(process.pid))
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            return status, usage, peak
        if kill_after is not None and cast(int, api.summary()["inputs"]) >= kill_after:
            time.sleep(later)
            process.send_signal(signal.SIGKILL)
            kill_after = None
        if time.perf_counter() > end:
            process.kill()
        time.sleep(0.02)


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def search_milliseconds(place: Place) -> float:
    """Median of the way's own search for the ten nearest to a vector."""
    if place.way != OURS:
        done = subprocess.run(place.command("search"), env=place.environment, capture_output=True, text=True, check=True)
        return float(done.stdout.strip().splitlines()[-1])
    rng = np.random.default_rng(5)
    times = []
    with Database(place.url).connect() as connection:
        for number in range(110):
            vector = rng.standard_normal(1_536, dtype=np.float32)
            began = time.perf_counter()
            search(connection, vector, 10)
            if number >= 10:
                times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def recall(place: Place) -> float:
    """Share of the ten nearest that are found: by our search, and by plain SQL, as the others send it, in theirs."""
    held = {(text if place.way == OURS else number): v for number, (_, text, v) in enumerate(rows_of(place))}
    vectors = np.stack(list(held.values()))
    table = ROWS[place.way].rpartition(" ")[2]
    statement = f"SELECT embedding <=> %s::vector AS d FROM {table} ORDER BY d LIMIT 10"
    rng = np.random.default_rng(6)
    shares = []
    with Database(place.url).connect() as connection:
        for _ in range(50):
            query = rng.standard_normal(1_536, dtype=np.float32)
            exact = np.sort(1 - vectors @ (query / np.linalg.norm(query)))[9]
            if place.way == OURS:
                distances = [result.distance for result in search(connection, query, 10)]
            else:
                literal = str(query.tolist())
                distances = [row[0] for row in connection.execute(statement.encode(), [literal]).fetchall()]
            shares.append(sum(distance <= exact + 1e-5 for distance in distances) / 10)
    return float(statistics.mean(shares))


class Bench:
    """One embedded server, and what is measured on it."""

    def __init__(self, server: EmbeddedServer, work: Path, peers: Path | None, files: int, give_up: float) -> None:
        self.server, self.work, self.peers, self.give_up = server, work, peers, give_up
        self.corpus = work / "corpus"
        make_corpus(self.corpus, files)

    @contextmanager
    def place(self, way: str, config: ServerConfig, corpus: Path | None = None) -> Iterator[Place]:
        """An empty database, an empty state and a copy of the files."""
        name = f"p_{uuid.uuid4().hex[:8]}"
        base = self.work / name
        (base / "state").mkdir(parents=True)
        shutil.copytree(corpus or self.corpus, base / "files")
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
            url = self.server.url.replace("@/postgres?", f"@/{name}?")
            with psycopg.connect(url, autocommit=True) as fresh:
                fresh.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute("CHECKPOINT")
            try:
                with serve_in_process(config) as api:
                    yield Place(way, self.peers, url, base / "files", base / "state", api)
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
                shutil.rmtree(base)

    def edits(self, way: str) -> dict[str, Any]:
        """First ingest, then one edit after the other, and searches."""
        found: dict[str, Any] = {}
        with self.place(way, ServerConfig(latency=LATENCY)) as place:
            for name, edit in {"first": lambda _: None, **EDITS}.items():
                edit(place.folder)
                runs = [run_way(place) for _ in range(3 if name == "nothing changed" else 1)]
                runs.sort(key=lambda run: run.seconds)
                found[name] = _row(runs[len(runs) // 2], verdict(place, place.expected()))
            found["first"]["chunks"] = sum(map(len, place.expected().values()))
        return found

    def size(self, way: str) -> dict[str, Any]:
        """First ingest, nothing changed, and one paragraph changed, of as many files as were asked for."""
        found: dict[str, Any] = {}
        with self.place(way, ServerConfig(latency=LATENCY)) as place:
            for name in SIZED:
                if name in EDITS:
                    EDITS[name](place.folder)
                found[name] = _row(run_way(place, give_up=self.give_up), texts_verdict(place))
            found["chunks"] = sum(map(len, place.expected().values()))
        return found

    def search(self, way: str) -> dict[str, Any]:
        """The ten nearest, after a first ingest."""
        with self.place(way, ServerConfig()) as place:
            run_way(place)
            return {"ms": search_milliseconds(place), "recall": recall(place)}

    def kill(self, way: str) -> dict[str, Any]:
        """Killed once half of the texts are billed, and run again."""
        return self._kill(way, 0.5, 0.0)

    def kill_late(self, way: str) -> dict[str, Any]:
        """Killed a second after all of the texts are billed, and run again."""
        return self._kill(way, 1.0, 1.0)

    def _kill(self, way: str, share: float, later: float) -> dict[str, Any]:
        with self.place(way, ServerConfig(latency=LATENCY)) as place:
            expected = place.expected()
            texts = len({sent for pairs in expected.values() for _, sent in pairs})
            killed = run_way(place, kill_after=int(texts * share), later=later)
            left = f"{len(rows_of(place)):,}"
            again = run_way(place)
            summary = place.api.summary()
            twice = cast(int, summary["inputs"]) - cast(int, summary["distinct"])
            return {"killed": _row(killed, left), "again": _row(again, verdict(place, expected)), "twice": twice}

    def bad(self, way: str) -> dict[str, Any]:
        """A file in CP949 and a picture among twenty good files."""
        corpus = self.work / f"bad_{way}"
        make_corpus(corpus, 20)
        rng = random.Random(31)
        korean = "\n\n".join(" ".join(rng.choices(KOREAN, k=60)) + "다." for _ in range(3))
        with self.place(way, ServerConfig(latency=LATENCY), corpus) as place:
            expected = place.expected()
            (place.folder / "00" / "cp949.txt").write_bytes(korean.encode("cp949"))
            (place.folder / "00" / "picture.txt").write_bytes(
                b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + rng.randbytes(9_000)
            )
            run = run_way(place)
            rows = rows_of(place)
            read = {word for source, text, _ in rows if source.endswith("cp949.txt") for word in text.split()}
            whole = read == set(korean.split())
            good = [row for row in rows if row[0].endswith(("cp949.txt", "picture.txt")) is False]
            return {
                **_row(run, ""),
                "cp949": "read" if read and whole else "mangled" if read else "no rows",
                "picture": sum(source.endswith("picture.txt") for source, *_ in rows),
                "good": len(good),
                "wanted": sum(map(len, expected.values())),
            }

    def limit(self, way: str) -> dict[str, Any]:
        """First ingest under a limit of tokens a minute, of which one minute's worth is there at first."""
        config = ServerConfig(latency=LATENCY, tokens_per_minute=TOKENS_PER_MINUTE, requests_per_minute=3_000)
        with self.place(way, config) as place:
            run = run_way(place)
            return _row(run, verdict(place, place.expected()))


def _row(run: Run, state: str) -> dict[str, Any]:
    return {**run.__dict__, "state": state}


def install(peers: Path) -> None:
    """The peers' environments, where they are not there yet."""
    for name, packages in PACKAGES.items():
        if not (peers / name / "done").exists():
            venv.create(peers / name, with_pip=True)
            subprocess.run([peers / name / "bin" / "python", "-m", "pip", "install", "-q", *packages], check=True)
            (peers / name / "done").touch()


def report(results: dict[str, dict[str, Any]]) -> None:
    """Markdown tables of everything that was measured."""
    found = {way: results[way] for way in TITLES if way in results}
    edits = {way: parts["edits"] for way, parts in found.items() if "edits" in parts}
    for name in ("first", *EDITS) if edits else ():
        print(f"\n{name}\n")
        print("| way | seconds | CPU s | peak MB | requests | tokens billed | texts billed again | rows |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
        for way, rows in edits.items():
            r = rows[name]
            state = r["state"] if not r["code"] else f"{r['state']}; exit {r['code']}: {r['error']}"
            print(
                f"| {TITLES[way]} | {r['seconds']:.1f} | {r['cpu']:.1f} | {r['peak_mb']:,.0f} | {r['requests']} | "
                f"{r['tokens']:,} | {r['again']:,} | {state} |"
            )
    for way, parts in found.items():
        if rows := parts.get("size"):
            for name in SIZED:
                r = rows[name]
                state = r["state"] if not r["code"] else f"{r['state']}; exit {r['code']}: {r['error']}"
                print(
                    f"| {TITLES[way]} | {rows['chunks']:,} chunks | {name} | {r['seconds']:.1f} s | "
                    f"{r['cpu']:.1f} s of CPU | {r['peak_mb']:,.0f} MB | {r['tokens']:,} tokens | {state} |"
                )
    print("\n| way | ten nearest, p50 ms | recall@10 |\n| --- | ---: | ---: |")
    for way, parts in found.items():
        if r := parts.get("search"):
            print(f"| {TITLES[way]} | {r['ms']:.2f} | {r['recall']:.2f} |")
    for part, when in (("kill", "killed half-way"), ("kill_late", "killed a second after the last text was billed")):
        print(f"\n| {when}, run again | until killed, s | rows left | again, s | texts billed twice | rows |")
        print("| --- | ---: | ---: | ---: | ---: | --- |")
        for way, parts in found.items():
            if k := parts.get(part):
                was = k["killed"]["state"] if k["killed"]["code"] == -9 else "had finished"
                print(
                    f"| {TITLES[way]} | {k['killed']['seconds']:.1f} | {was} | "
                    f"{k['again']['seconds']:.1f} | {k['twice']:,} | {k['again']['state']} |"
                )
    print("\n| bad files | exit | good rows | CP949 | rows of the picture | last line |")
    print("| --- | ---: | ---: | --- | ---: | --- |")
    for way, parts in found.items():
        if b := parts.get("bad"):
            good = f"{b['good']} of {b['wanted']}"
            print(f"| {TITLES[way]} | {b['code']} | {good} | {b['cp949']} | {b['picture']} | {b['error'][:120]} |")
    print("\n| limited | seconds | least possible | 429s | tokens sent in vain | requests | rows |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for way, parts in found.items():
        if r := parts.get("limit"):
            least = max(0.0, (r["tokens"] - TOKENS_PER_MINUTE) / TOKENS_PER_MINUTE * 60)
            state = r["state"] if not r["code"] else f"{r['state']}; exit {r['code']}: {r['error'][:120]}"
            print(
                f"| {TITLES[way]} | {r['seconds']:.1f} | {least:.1f} | {r['limited']} | {r['in_vain']:,} | "
                f"{r['requests']} | {state} |"
            )


def main() -> None:
    """Measure what was asked for, and print all there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--ways")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--give-up", type=float, default=GIVE_UP_SECONDS, help="seconds for a run of the part `size`")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    ways = arguments.ways.split(",") if arguments.ways else [OURS, *(PEERS if arguments.peers else ())]
    parts = [part for part in arguments.only.split(",") if part]
    if arguments.peers:
        install(arguments.peers)
    kept = arguments.results
    results: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept and kept.exists() else {}
    if parts:
        with tempfile.TemporaryDirectory() as place, EmbeddedServer.start(Path(place) / "home") as server:
            Path(place).chmod(0o755)
            bench = Bench(server, Path(place), arguments.peers, arguments.files, arguments.give_up)
            for way, part in itertools.product(ways, parts):
                results.setdefault(way, {})[part] = getattr(bench, part)(way)
                print(f"{way} {part}: done", file=sys.stderr, flush=True)
                if kept:
                    kept.write_text(json.dumps(results, indent=1))
    report(results)


if __name__ == "__main__":
    main()
