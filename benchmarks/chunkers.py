"""How much of what answers a question is found through the chunks of a document, for our chunkers and others'.

The labelled set is in benchmarks/labelled_set: documents in English and Korean, and questions with the passages that
answer them. Every chunker cuts the documents at the same number of tokens, the embedded model embeds chunks and
questions, and the k nearest chunks of a question by exact cosine are held against its passages, in characters that
are not white space:

- recall: the share of the labelled characters that are in a retrieved chunk,
- precision: the share of the retrieved characters that are labelled; IoU: both divided by what is in either,
- recall in k x TOKENS tokens: chunks are taken in order until together they have this many tokens, the last one only
  as far as it fits, so that a chunker with smaller chunks is given as much text as one with full chunks.

Figures are means over questions. A chunker's difference from `recursive` has a 95 % interval from resampling the
questions (10,000 times, seeded). With --peers, the other libraries are installed into a virtual environment in FOLDER
(kept and used again). Prints Markdown tables; the same every time.

    python -m benchmarks.chunkers [--tokens 400 200 100] [-k 5] [--peers FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from vector_pipeline.embedding.providers.wordllama import WordLlamaModel
from vector_pipeline.queries.evaluation.metrics import interval
from vector_pipeline.text.chunking import tokens as vocabulary_of
from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_document
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline.text.documents import Document

LABELLED_SET = Path(__file__).parent / "labelled_set"
LANGUAGES = {"en": "English", "ko": "Korean"}
TOKENIZER = tokenizer_for("text-embedding-3-small")

PEER_PACKAGES = ("langchain-text-splitters", "chonkie", "semantic-text-splitter", "tiktoken", "tokenizers")
PEERS = (
    "LangChain recursive",
    "LangChain recursive, overlap 50",
    "chonkie recursive",
    "chonkie sentence",
    "chonkie token",
    "semantic-text-splitter",
)
PEER = """
import base64, json, sys, tiktoken
name, size, vocabulary, pattern = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
ranks = {base64.b64decode(t): int(r) for t, r in (line.split() for line in open(vocabulary, "rb"))}
encoding = tiktoken.Encoding(name="cl100k_base", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
count = lambda text: len(encoding.encode_ordinary(text))
if name.startswith("LangChain"):
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    overlap = 50 if name.endswith("overlap 50") else 0
    cut = RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=overlap, length_function=count).split_text
elif name == "semantic-text-splitter":
    from semantic_text_splitter import TextSplitter
    cut = TextSplitter.from_callback(count, size).chunks
else:
    import chonkie
    chunker = getattr(chonkie, name.split()[1].title() + "Chunker")(tokenizer=encoding, chunk_size=size)
    cut = lambda text: [chunk.text for chunk in chunker(text)]
json.dump([cut(text) for text in json.load(sys.stdin)], sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the ranges of characters in its document that answer it."""

    document: str
    text: str
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk of any chunker: its text, and the range of characters of its document that it stands for."""

    document: str
    text: str
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Scores:
    """A figure for each question, shape (questions,)."""

    recall: np.ndarray[tuple[int], np.dtype[np.float64]]
    precision: np.ndarray[tuple[int], np.dtype[np.float64]]
    iou: np.ndarray[tuple[int], np.dtype[np.float64]]
    recall_in_budget: np.ndarray[tuple[int], np.dtype[np.float64]]


def labelled_set(folder: Path = LABELLED_SET) -> tuple[dict[str, str], list[Question]]:
    """Documents by name, and the questions about them.

    An answer is written as a quotation that occurs once in its document, so that a document can be edited.

    Raises:
        ValueError: a quotation is not in its document, or more than once.
    """
    texts = {
        path.relative_to(folder).as_posix(): path.read_text()
        for language in LANGUAGES
        for path in sorted((folder / language).iterdir())
    }
    questions = []
    for line in (folder / "questions.jsonl").read_text().splitlines():
        record = json.loads(line)
        ranges = tuple(_range(texts[record["document"]], answer) for answer in record["answers"])
        questions.append(Question(record["document"], record["question"], ranges))
    return texts, questions


def _range(text: str, answer: str) -> tuple[int, int]:
    if (times := text.count(answer)) != 1:
        raise ValueError(f"an answer must occur once in its document and occurs {times} times: {answer!r}")
    start = text.index(answer)
    return start, start + len(answer)


def ours(texts: Mapping[str, str], config: ChunkingConfig) -> list[Piece]:
    """The chunks of all documents, cut by this project."""
    return [
        Piece(name, chunk.text, chunk.start, chunk.end, chunk.tokens)
        for name, text in texts.items()
        for chunk in chunk_document(Document(text), TOKENIZER, config)
    ]


def peer(folder: Path, name: str, texts: Mapping[str, str], size: int) -> list[Piece] | None:
    """The chunks of all documents, cut by another library; None, with its error on stderr, where that failed."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEER_PACKAGES], check=True)
    vocabulary = vocabulary_of.vocabulary_file()
    command = [str(python), "-c", PEER, name, str(size), str(vocabulary), vocabulary_of.PATTERN]
    done = subprocess.run(command, input=json.dumps([*texts.values()]), capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    found: list[list[str]] = json.loads(done.stdout.strip().splitlines()[-1])
    return [
        piece
        for (document, text), chunks in zip(texts.items(), found, strict=True)
        for piece in located(document, text, chunks)
    ]


def located(document: str, text: str, chunks: Sequence[str]) -> Iterator[Piece]:
    """Chunks of a document, each where it is next found in it.

    A chunker that cuts tokens may cut inside a character, and gives back a replacement character for each half;
    what is between those is looked for.
    """
    start = -1
    for chunk in chunks:
        whole = chunk.strip("\ufffd")
        if not whole.strip():
            continue
        found = text.find(whole, start + 1)
        if found < 0:
            raise ValueError(f"a chunk is not in {document}: {chunk!r}")
        start = found
        yield Piece(document, chunk, found, found + len(whole), TOKENIZER.count(chunk))


def ranked(
    model: WordLlamaModel, pieces: Sequence[Piece], questions: Sequence[Question]
) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """The pieces, nearest first, for each question: shape (questions, pieces)."""
    chunks = model.embed([piece.text for piece in pieces])
    asked = model.embed([question.text for question in questions])
    return np.argsort(-(asked @ chunks.T), axis=1, kind="stable")


def score(
    texts: Mapping[str, str],
    pieces: Sequence[Piece],
    questions: Sequence[Question],
    order: np.ndarray[tuple[int, int], np.dtype[np.intp]],
    k: int,
    size: int,
) -> Scores:
    """Every question's figures."""
    # What counts is not white space: a chunker is not asked to keep that at its cuts.
    ink = {name: np.array([not character.isspace() for character in text]) for name, text in texts.items()}
    rows = []
    for question, row in zip(questions, order, strict=True):
        nearest = [pieces[index] for index in row[:k]]
        in_budget = list(_within([pieces[index] for index in row], k * size))
        rows.append((*_overlap(ink, question, nearest), _overlap(ink, question, in_budget)[0]))
    return Scores(*np.array(rows).T)


def _within(pieces: Sequence[Piece], budget: int) -> Iterator[Piece]:
    for piece in pieces:
        if piece.tokens > budget:
            end = piece.start + (piece.end - piece.start) * budget // piece.tokens
            yield Piece(piece.document, piece.text, piece.start, end, budget)
            return
        yield piece
        budget -= piece.tokens


def _overlap(
    ink: Mapping[str, np.ndarray], question: Question, retrieved: Sequence[Piece]
) -> tuple[float, float, float]:
    """Recall, precision and intersection over union of one question."""
    marked: dict[str, np.ndarray] = {}
    for piece in retrieved:
        marked.setdefault(piece.document, np.zeros_like(ink[piece.document]))[piece.start : piece.end] = True
    labelled = np.zeros_like(ink[question.document])
    for start, end in question.ranges:
        labelled[start:end] = True
    labelled &= ink[question.document]
    total = sum(int((mask & ink[name]).sum()) for name, mask in marked.items())
    both = int((labelled & marked[question.document]).sum()) if question.document in marked else 0
    wanted = int(labelled.sum())
    return both / wanted, both / total, both / (wanted + total - both)


def table(cut: Mapping[str, Sequence[Piece]], scores: Mapping[str, Scores], budget: str) -> Iterator[str]:
    """A Markdown table of one set of questions; the first chunker is what the others are held against."""
    yield (
        f"| chunker | chunks | tokens each | recall | difference | precision | IoU | difference "
        f"| recall in {budget} tokens | difference |"
    )
    yield "| --- " + "| ---: " * 9 + "|"
    base = next(iter(scores.values()))
    for name, found in scores.items():
        each = np.mean([piece.tokens for piece in cut[name]])
        cells = [name, f"{len(cut[name]):,}", f"{each:.0f}"]
        cells += [f"{found.recall.mean():.3f}", _difference(found.recall - base.recall)]
        cells += [f"{found.precision.mean():.3f}", f"{found.iou.mean():.3f}", _difference(found.iou - base.iou)]
        cells += [f"{found.recall_in_budget.mean():.3f}"]
        cells += [_difference(found.recall_in_budget - base.recall_in_budget)]
        yield "| " + " | ".join(cells) + " |"


def _difference(differences: np.ndarray) -> str:
    if not differences.any():
        return ""
    found = interval(differences)
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def chunkers(folder: Path | None, texts: Mapping[str, str], size: int) -> dict[str, list[Piece]]:
    """The pieces of every chunker at hand, `recursive` first."""
    cutting: dict[str, Callable[[], list[Piece] | None]] = {
        "`recursive`": lambda: ours(texts, ChunkingConfig(max_tokens=size)),
        "`recursive`, overlap 50": lambda: ours(texts, ChunkingConfig(max_tokens=size, overlap=50)),
        "`paragraph`": lambda: ours(texts, ChunkingConfig("paragraph", max_tokens=size)),
    }
    if folder is not None:
        cutting |= {name: partial(peer, folder, name, texts, size) for name in PEERS}
    return {name: pieces for name, cut in cutting.items() if (pieces := cut()) is not None}


def averaged(scores: Sequence[Scores]) -> Scores:
    """Each question's mean over several sizes of chunks."""
    return Scores(*(np.mean([getattr(found, field.name) for found in scores], axis=0) for field in fields(Scores)))


def report(
    model: WordLlamaModel,
    texts: Mapping[str, str],
    questions: Sequence[Question],
    cut: Mapping[int, Mapping[str, Sequence[Piece]]],
    k: int,
) -> Iterator[str]:
    """A table for each size of chunks, and one for all sizes where there are several."""
    pieces_of: dict[str, list[Piece]] = {}
    scores_of: dict[str, list[Scores]] = {}
    for size, chunked in cut.items():
        scores = {
            name: score(texts, pieces, questions, ranked(model, pieces, questions), k, size)
            for name, pieces in chunked.items()
        }
        yield f"\n{len(questions)} questions, chunks of at most {size} tokens, k = {k}\n"
        yield from table(chunked, scores, f"{k * size:,}")
        for name in scores:
            pieces_of.setdefault(name, []).extend(chunked[name])
            scores_of.setdefault(name, []).append(scores[name])
    if len(cut) > 1:
        yield "\nEach question's mean over these sizes\n"
        yield from table(pieces_of, {name: averaged(found) for name, found in scores_of.items()}, f"{k} times as many")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[400])
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    texts, questions = labelled_set()
    model = WordLlamaModel()
    cut = {size: chunkers(arguments.peers, texts, size) for size in arguments.tokens}
    for title, prefix in ({title: f"{language}/" for language, title in LANGUAGES.items()} | {"Both": ""}).items():
        asked = [question for question in questions if question.document.startswith(prefix)]
        searched = {
            size: {name: [p for p in pieces if p.document.startswith(prefix)] for name, pieces in chunked.items()}
            for size, chunked in cut.items()
        }
        print(f"\n## {title}")
        print("\n".join(report(model, texts, asked, searched, arguments.k)))


if __name__ == "__main__":
    main()
