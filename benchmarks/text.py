"""How fast documents are read, cut and counted, as a share of what the tokenizer alone takes for the same text.

Bare `tiktoken.encode_ordinary` over the same documents is 1.00. With --peers, LangChain's and chonkie's recursive
chunkers and semantic-text-splitter are installed into a virtual environment in FOLDER (kept and used again) and cut
the same text at the same size. Medians of some interleaved repeats; prints Markdown tables.

    python benchmarks/text.py [--megabytes 2] [--repeats 5] [--peers FOLDER]
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import tiktoken

from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_document, chunk_documents
from vector_pipeline.text.chunking.tokens import PATTERN, tokenizer_for, vocabulary
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers import ReaderOptions, read_documents

CORPUS = Path(__file__).parents[1] / "examples" / "sample_corpus"
ENGLISH = ("handbook/history.md", "handbook/borrowing-tools.md", "guides/bicycle-tyre.md", "handbook/opening-hours.md")
KOREAN = ("handbook/안전수칙.md", "guides/김치.md", "handbook/회원가입.txt")
PACKAGE = Path(__file__).parents[1] / "vector_pipeline"
CODE = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
DOCUMENT_BYTES = 100_000
TOKENS = 400
TOKENIZER = tokenizer_for("text-embedding-3-small")
TIKTOKEN = tiktoken.Encoding("cl100k_base", pat_str=PATTERN, mergeable_ranks=vocabulary(), special_tokens={})

PEER_PACKAGES = ("langchain-text-splitters", "chonkie", "semantic-text-splitter", "tiktoken", "tokenizers")
PEER = """
import base64, json, sys, time, tiktoken
name, path, vocabulary, pattern = sys.argv[1:]
ranks = {base64.b64decode(t): int(r) for t, r in (line.split() for line in open(vocabulary, "rb"))}
encoding = tiktoken.Encoding(name="cl100k_base", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
texts = json.load(open(path))
count = lambda text: len(encoding.encode_ordinary(text))
if name == "langchain":
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    splitter = RecursiveCharacterTextSplitter(chunk_size=400, chunk_overlap=0, length_function=count)
    cut = splitter.split_text
elif name == "chonkie":
    from chonkie import RecursiveChunker
    cut = RecursiveChunker(tokenizer=encoding, chunk_size=400)
else:
    from semantic_text_splitter import TextSplitter
    cut = TextSplitter.from_callback(count, 400).chunks
began = time.perf_counter()
chunks = sum(len(cut(text)) for text in texts)
print(json.dumps([time.perf_counter() - began, chunks]))
"""


def documents(folder: Path, names: Sequence[str], megabytes: float) -> list[bytes]:
    """Files of about 100 KB made of some texts, no two paragraphs quite the same."""
    paragraphs = [p for name in names for p in (folder / name).read_text().split("\n\n")]
    files: list[bytes] = []
    gathered: list[str] = []
    size = number = 0
    while len(files) * DOCUMENT_BYTES < megabytes * 1e6:
        gathered.append(f"{paragraphs[number % len(paragraphs)]} ({number})")
        size += len(gathered[-1].encode())
        number += 1
        if size >= DOCUMENT_BYTES:
            files.append("\n\n".join(gathered).encode())
            gathered, size = [], 0
    return files


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def bare(texts: list[str]) -> int:
    return sum(len(TIKTOKEN.encode_ordinary(text)) for text in texts)


def tokens_alone(texts: list[str]) -> int:
    return sum(TOKENIZER.count(text) for text in texts)


def ours(files: list[bytes], threads: int) -> int:
    read = (d for f in files for d in read_documents(io.BytesIO(f), "a.md", ReaderOptions()))
    return sum(len(c) for _, c in chunk_documents(read, TOKENIZER, ChunkingConfig(max_tokens=TOKENS), threads=threads))


AWKWARD: dict[str, Callable[[int], str]] = {
    "one line of words": lambda size: ("lorem ipsum dolor sit amet " * (size // 27 + 1))[:size],
    "one line of Korean": lambda size: ("대한민국의 주권은 국민에게 있고 " * (size // 40 + 1))[: size // 3],
    "spaces": lambda size: " " * size,
    "line breaks": lambda size: "\n" * size,
    "one letter": lambda size: "a" * size,
    "one syllable": lambda size: "한" * (size // 3),
    "digits": lambda size: "1" * size,
    "full stops": lambda size: "." * size,
    "brackets in brackets": lambda size: "[" * (size // 2) + "]" * (size // 2),
    "quotes in quotes": lambda size: "\n".join("> " * (i % 200) + "x" for i in range(size // 200)),
    "indented code": lambda size: "\n".join(" " * (i % 40) + "x = f(x)" for i in range(size // 30)),
    "headings": lambda size: "# h\n" * (size // 4),
    "fences": lambda size: "```\n" * (size // 4),
    "combining marks": lambda size: "e" + "\u0301" * (size // 2),
    "joined emoji": lambda size: "👨‍👩‍👧" * (size // 18),
}


def awkward_seconds(kind: Callable[[int], str], megabytes: int) -> float:
    document = Document(kind(megabytes * 1_000_000))
    return seconds(partial(chunk_document, document, TOKENIZER, ChunkingConfig(max_tokens=TOKENS)))


def measure_awkward() -> None:
    """Texts that some chunkers never finish: ten times as much may take ten times as long."""
    print("\nAwkward texts, each one document\n")
    print("| text | 1 MB, s | 10 MB, s | times as long |\n| --- | ---: | ---: | ---: |")
    for name, kind in AWKWARD.items():
        small, large = awkward_seconds(kind, 1), awkward_seconds(kind, 10)
        print(f"| {name} | {small:.2f} | {large:.2f} | {large / small:.1f} |", flush=True)


def peer_seconds(folder: Path, name: str, files: list[bytes]) -> float | None:
    from vector_pipeline.text.chunking import tokens

    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PEER_PACKAGES], check=True)
    vocabulary = tokens.vocabulary_file()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as texts:
        json.dump([f.decode() for f in files], texts)
        texts.flush()
        command = [str(python), "-c", PEER, name, texts.name, str(vocabulary), tokens.PATTERN]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.strip().splitlines()[-1])[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    for language, folder, names in (("English", CORPUS, ENGLISH), ("Korean", CORPUS, KOREAN), ("Python", PACKAGE, CODE)):
        files = documents(folder, names, arguments.megabytes)
        size = sum(map(len, files)) / 1e6
        texts = [f.decode() for f in files]
        runs: dict[str, Callable[[], object]] = {
            "bare `encode_ordinary`": partial(bare, texts),
            "the same tokens by our pattern": partial(tokens_alone, texts),
            "read + chunk + count, 1 thread": partial(ours, files, 1),
            "read + chunk + count, 2 threads": partial(ours, files, 2),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(arguments.repeats):
            for name, run in runs.items():
                times[name].append(seconds(run))
        medians = {name: statistics.median(found) for name, found in times.items()}
        if arguments.peers:
            for name in ("langchain", "chonkie", "semantic-text-splitter"):
                found = peer_seconds(arguments.peers, name, files)
                if found is not None:
                    medians[f"{name} (chunk only)"] = found
        limit = medians["bare `encode_ordinary`"]
        print(f"\n{language}, {size:.1f} MB, {ours(files, 1):,} chunks of at most {TOKENS} tokens\n")
        print("| | MB/s | share of bare |\n| --- | --- | --- |")
        for name, found in medians.items():
            print(f"| {name} | {size / found:.1f} | {limit / found:.2f} |")
    measure_awkward()


if __name__ == "__main__":
    main()
