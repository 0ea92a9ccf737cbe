"""How much of what answers a question a search finds, for our ranking and others'.

The questions of benchmarks/labelled_set are asked of one corpus, the English and Korean documents together. All ways
rank the same chunks, cut by this project, with the same vectors of the embedded model: only the ranking differs. The
figures are those of `vector-pipeline evaluate`, from the same code. A way's difference from `hybrid` in recall has a
95 % interval from resampling the questions (seeded).

- `hybrid`, `words` and `meaning` are the modes of a search; `ranks` fuses the last two by reciprocal ranks (k = 60).
- With --peers, other libraries rank the same chunks on the same server; they are installed into FOLDER.
- bm25s over our terms is exact BM25: the limit of the lexical index. `overlap` is the share of its results that `words`
  has too.

    python -m benchmarks.retrieval [--tokens 400] [-k 5] [--context none] [--model wordllama-256] [--peers FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg.conninfo import conninfo_to_dict

from vector_pipeline import Corpus
from vector_pipeline.local.ingest import ingest
from vector_pipeline.pipeline.pipeline import open_pipeline
from vector_pipeline.queries.evaluation.evaluate import ChunkKey, Figures, Wanted, measure, wanted_chunks
from vector_pipeline.queries.evaluation.metrics import interval
from vector_pipeline.settings import EMBEDDED_MODELS, Settings
from vector_pipeline.store.search.hybrid import Mode
from vector_pipeline.text.terms import frequencies, parse_query

LABELLED_SET = Path(__file__).parent / "labelled_set"
OURS: tuple[Mode, ...] = ("hybrid", "words", "meaning")
# As in Cormack, Clarke and Büttcher, Reciprocal Rank Fusion, 2009.
RANK_CONSTANT = 60
DEEP = 50

PEER_PACKAGES = (
    "langchain-core",
    "langchain-postgres",
    "llama-index-core",
    "llama-index-vector-stores-postgres",
    "bm25s",
    "psycopg[binary]",
)
OF_TERMS = "bm25s over our terms"
PEERS = (
    "LangChain hybrid, scores",
    "LangChain hybrid, ranks",
    "LangChain hybrid, ranks, `simple`",
    "LlamaIndex hybrid",
    "LlamaIndex fusion retriever",
    "LlamaIndex fusion retriever, `simple`",
    "bm25s",
    OF_TERMS,
)

Search = Callable[[str], Sequence[ChunkKey]]


@dataclass(frozen=True, slots=True)
class Ranked:
    """The chunks that all ways rank: places, texts and vectors, shape (chunks, dimensions), float32."""

    places: list[ChunkKey]
    texts: list[str]
    vectors: np.ndarray


def chunks(connection: psycopg.Connection[Any]) -> Ranked:
    """All chunks of the table."""
    rows = connection.execute(
        "SELECT document_id, chunk_index, page_content, embedding::text FROM document_chunks "
        "ORDER BY document_id, chunk_index"
    ).fetchall()
    vectors = np.array([json.loads(row[3]) for row in rows], dtype=np.float32)
    return Ranked([(row[0], row[1]) for row in rows], [row[2] for row in rows], vectors)


def ours(corpus: Corpus, mode: Mode, k: int, question: str) -> list[ChunkKey]:
    """A search of this project."""
    return [(result.document_id, result.chunk_index) for result in corpus.search(question, k, mode=mode)]


def fused_ranks(corpus: Corpus, k: int, question: str) -> list[ChunkKey]:
    """Reciprocal rank fusion of our two sides."""
    scores: defaultdict[ChunkKey, float] = defaultdict(float)
    for mode in ("words", "meaning"):
        for rank, place in enumerate(ours(corpus, mode, DEEP, question), 1):
            scores[place] += 1 / (RANK_CONSTANT + rank)
    return sorted(scores, key=lambda place: (-scores[place], place))[:k]


def install(folder: Path) -> Path:
    """The peers' Python, with their packages."""
    python = folder / "venv" / "bin" / "python"
    if not (folder / "done").exists():
        venv.create(folder / "venv", with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEER_PACKAGES], check=True)
        (folder / "done").touch()
    return python


def peer(python: Path, way: str, task: Mapping[str, Any], ranked: Ranked, questions: Sequence[str]) -> Search | None:
    """Another library's search; None, with its error on stderr, where that failed."""
    if way == OF_TERMS:
        terms = [[term for term, n in frequencies(text).items() for _ in range(n)] for text in ranked.texts]
        asked = [parse_query(question).terms for question in questions]
        task = {**task, "texts": [" ".join(text) for text in terms], "questions": [" ".join(one) for one in asked]}
    command = [str(python), str(Path(__file__).parent / "retrieval_peers" / "run.py"), way]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{way}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    found: list[list[int]] = json.loads(done.stdout.strip().splitlines()[-1])
    by_question = {q: [ranked.places[n] for n in numbers] for q, numbers in zip(questions, found, strict=True)}
    return by_question.__getitem__


def searches(
    settings: Settings, corpus: Corpus, ranked: Ranked, questions: Sequence[str], k: int, peers: Path | None
) -> Iterator[tuple[str, Search]]:
    """Every way at hand, by its name."""
    for mode in OURS:
        yield f"`{mode}`", partial(ours, corpus, mode, k)
    yield "`ranks`", partial(fused_ranks, corpus, k)
    if peers is None:
        return
    python = install(peers)
    parts = conninfo_to_dict(url_of(settings))
    task = {
        **{
            "host": parts["host"],
            "port": parts["port"],
            "name": "peers",
            "user": parts["user"],
            "password": parts.get("password", ""),
        },
        **{"texts": ranked.texts, "vectors": ranked.vectors.tolist(), "questions": list(questions), "k": k},
        "question_vectors": corpus.embed(list(questions), purpose="query").tolist(),
    }
    for way in PEERS:
        if (search := peer(python, way, task, ranked, questions)) is not None:
            yield way, search


def url_of(settings: Settings) -> str:
    """The database of a pipeline, with its password."""
    with open_pipeline(settings) as pipeline:
        return pipeline.database.url


def report(figures: Mapping[str, Figures], k: int) -> Iterator[str]:
    """A Markdown table for each language, and one for all questions."""
    base = figures["`hybrid`"]
    for title in ("all", *dict.fromkeys(base.languages)):
        places = [n for n, language in enumerate(base.languages) if title in ("all", language)]
        yield f"\n{title}: {len(places)} questions\n"
        yield f"| way | recall@{k} | difference from `hybrid` | MRR | nDCG@{k} |"
        yield "| --- | ---: | ---: | ---: | ---: |"
        for name, found in figures.items():
            means = [np.mean([getattr(found, figure)[n] for n in places]) for figure in ("recall", "mrr", "ndcg")]
            difference = interval([found.recall[n] - base.recall[n] for n in places])
            shown = "" if found is base else f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
            yield f"| {name} | {means[0]:.3f} | {shown} | {means[1]:.3f} | {means[2]:.3f} |"


def overlap(exact: Search, found: Search, questions: Sequence[str]) -> float:
    """The share of exact results that another search has too, as a mean over the questions that have any."""
    shares = [len({*exact(q)} & {*found(q)}) / len(exact(q)) for q in questions if exact(q)]
    return float(np.mean(shares))


def run(arguments: argparse.Namespace, folder: Path) -> None:
    """Load the labelled set, ask everything, and print."""
    settings = Settings.of(
        home=folder / "home", chunk_tokens=arguments.tokens, context=arguments.context, model=arguments.model
    )
    with open_pipeline(settings) as pipeline:
        ingest(pipeline, [str(LABELLED_SET)])
        with psycopg.connect(pipeline.database.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE peers ENCODING 'UTF8' TEMPLATE template0")
            ranked = chunks(connection)
        with pipeline.database.connect() as connection:
            wanted, problems = wanted_chunks(connection, LABELLED_SET / "questions.jsonl")
        assert not problems, problems
        measured(arguments, settings, ranked, wanted)


def measured(arguments: argparse.Namespace, settings: Settings, ranked: Ranked, wanted: Sequence[Wanted]) -> None:
    """Print the figures of every way."""
    k, questions = arguments.k, [one.question.question for one in wanted]
    figures: dict[str, Figures] = {}
    found: dict[str, Search] = {}
    with Corpus.open(settings) as corpus:
        for name, search in searches(settings, corpus, ranked, questions, k, arguments.peers):
            figures[name], found[name] = measure(wanted, search, k), search
        print(f"{len(ranked.texts)} chunks of at most {arguments.tokens} tokens, context {arguments.context}, k = {k}")
        print("\n".join(report(figures, k)))
        if OF_TERMS in found:
            print(f"\noverlap of `words` with {OF_TERMS}: {overlap(found[OF_TERMS], found['`words`'], questions):.3f}")


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("-k", type=int, default=5)
    parser.add_argument("--context", choices=("none", "headings", "title"), default="none")
    parser.add_argument("--model", choices=EMBEDDED_MODELS, default=EMBEDDED_MODELS[0])
    parser.add_argument("--peers", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, Path(folder))


if __name__ == "__main__":
    main()
