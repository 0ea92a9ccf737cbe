"""Measure searches on a golden set: the part of the answers that is found, and its rank."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.evaluation import metrics
from vector_pipeline.queries.evaluation.golden import GoldenQuestion, Problem, read_golden_set
from vector_pipeline.queries.question_vectors import QuestionVectors
from vector_pipeline.queries.search import answer, question_of
from vector_pipeline.settings import variable
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.search.hybrid import Mode
from vector_pipeline.store.search.results import StandingChunk, chunks_of_source

DECISIVE: Mode = "hybrid"
"""The mode whose recall is held against MIN_RETRIEVAL_RECALL."""

MODES: tuple[Mode, ...] = ("auto", "hybrid", "words", "meaning")


@dataclass(slots=True)
class Figures:
    """One figure for each question, in the order of the golden set."""

    languages: list[str] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    mrr: list[float] = field(default_factory=list)
    ndcg: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """The means with their intervals, for all questions and by language."""
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for place, language in enumerate(self.languages):
            groups[language].append(place)
        return {**self._means(range(len(self.languages))), "languages": {k: self._means(v) for k, v in groups.items()}}

    def _means(self, places: Sequence[int]) -> dict[str, Any]:
        found: dict[str, Any] = {"questions": len(places)}
        for name in ("recall", "mrr", "ndcg"):
            values = getattr(self, name)
            found[name] = asdict(metrics.interval([values[place] for place in places]))
        return found


ChunkKey = tuple[str, int]
"""A chunk: the id of its document, and its index there."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question, and the part of its answers in each chunk."""

    question: GoldenQuestion
    shares: dict[ChunkKey, float]


def evaluate(
    pipeline: Pipeline, golden: Path | None, *, modes: Iterable[Mode] = MODES, k: int = 5, space: str | None = None
) -> dict[str, Any]:
    """Ask all questions of a golden set in each mode, and measure the results.

    `space` embeds questions and compares with another space than the active one. A line that names a file or a
    quotation that does not exist is named in `problems`; the others are measured.
    Raises ConfigurationError where there is no golden set, or no line of it can be used.
    """
    if golden is None:
        raise ConfigurationError(f"no golden set: name a JSONL file, or set {variable('golden_set')}")
    with pipeline.database.connect(role="evaluate") as connection, QuestionVectors(pipeline) as vectors:
        wanted, problems = wanted_chunks(connection, golden)
        by_mode = {mode: _figures(pipeline, connection, vectors, wanted, mode, k, space) for mode in modes}
    first_mode = next(iter(by_mode.values())).summary()
    return {
        **first_mode,
        "k": k,
        "modes": {mode: figures.summary() for mode, figures in by_mode.items()},
        "problems": [asdict(problem) for problem in problems],
    }


def require_no_worse(pipeline: Pipeline, space: str, k: int = 5) -> None:
    """Raise ConfigurationError if searches with a space find less of the golden set than those with the active one.

    Less is what is more than chance: where the 95 % interval of the difference in recall@k is all below 0. Searches by
    meaning are compared, for it is that side which changes. A hybrid recall below MIN_RETRIEVAL_RECALL is refused too.
    """
    golden = pipeline.settings.golden_set
    assert golden is not None
    with pipeline.database.connect(role="evaluate") as connection, QuestionVectors(pipeline) as vectors:
        wanted, _ = wanted_chunks(connection, golden)
        now = _figures(pipeline, connection, vectors, wanted, "meaning", k, None)
        then = _figures(pipeline, connection, vectors, wanted, "meaning", k, space)
        together = metrics.interval(_figures(pipeline, connection, vectors, wanted, DECISIVE, k, space).recall)
    difference = metrics.interval([after - before for after, before in zip(then.recall, now.recall, strict=True)])
    if difference.high < 0:
        before, after = metrics.interval(now.recall).value, metrics.interval(then.recall).value
        raise ConfigurationError(
            f"space {space} finds less of the golden set by meaning: its recall@{k} is {after:.3f}, that of the active "
            f"space {before:.3f} (difference {difference.low:+.3f} to {difference.high:+.3f}, {len(wanted):,} "
            "questions); switch all the same with --anyway"
        )
    least = pipeline.settings.min_retrieval_recall
    if together.value < least:
        raise ConfigurationError(
            f"searches with space {space} have a recall@{k} of {together.value:.3f} on the golden set, below "
            f"{variable('min_retrieval_recall')}, which is {least}; switch all the same with --anyway"
        )


def _figures(
    pipeline: Pipeline,
    connection: Connection,
    vectors: QuestionVectors,
    wanted: Sequence[Wanted],
    mode: Mode,
    k: int,
    space: str | None,
) -> Figures:
    def search(text: str) -> list[ChunkKey]:
        question = question_of(text, k, mode=mode, source=None, root=None, where=None, context=0)
        found = answer(pipeline, connection, vectors, question, space=space)
        return [(result.document_id, result.chunk_index) for result in found]

    return measure(wanted, search, k)


def measure(wanted: Iterable[Wanted], search: Callable[[str], Sequence[ChunkKey]], k: int) -> Figures:
    """The figures of any search that takes a question and returns k chunks, best first."""
    figures = Figures()
    for one in wanted:
        shares = [one.shares.get(place, 0.0) for place in search(one.question.question)]
        figures.languages.append(one.question.language)
        figures.recall.append(metrics.recall(shares))
        figures.mrr.append(metrics.reciprocal_rank(shares))
        figures.ndcg.append(metrics.ndcg(shares, sorted(one.shares.values(), reverse=True)[:k]))
    return figures


def wanted_chunks(connection: Connection, golden: Path) -> tuple[list[Wanted], list[Problem]]:
    """The questions that can be measured, and the other lines. Raises ConfigurationError if there are none."""
    wanted, problems = [], []
    for line in read_golden_set(golden):
        if isinstance(line, Problem):
            problems.append(line)
            continue
        shares, error = shares_of(line.answers, chunks_of_source(connection, line.source))
        if error:
            problems.append(Problem(line.line, f"{error} in {line.source}"))
        else:
            wanted.append(Wanted(line, shares))
    if not wanted:
        first = f": line {problems[0].line} {problems[0].error}" if problems else ""
        raise ConfigurationError(f"no question of {golden} can be measured{first}")
    return wanted, problems


def shares_of(
    answers: Sequence[str], chunks: Sequence[StandingChunk]
) -> tuple[dict[tuple[str, int], float], str | None]:
    """The part of some quotations in each chunk, in characters that are not white space; or what is missing."""
    if not chunks:
        return {}, "nothing is loaded"
    # Without the mark of UTF-8 at the beginning of a copied file, which readers remove.
    quotations = ["".join(answer.removeprefix("\ufeff").split()) for answer in answers]
    total = sum(map(len, quotations))
    found: dict[tuple[str, int], float] = defaultdict(float)
    for quotation, answer_text in zip(quotations, answers, strict=True):
        ranges = _ranges(quotation, chunks)
        if not ranges:
            return {}, f"there is no {answer_text[:60]!r}"
        for key, size in ranges.items():
            found[key] += size / total
    return dict(found), None


def _ranges(quotation: str, chunks: Sequence[StandingChunk]) -> dict[tuple[str, int], int]:
    """The number of characters of a quotation in each chunk, at its first occurrence; empty without one."""
    by_document: defaultdict[str, list[StandingChunk]] = defaultdict(list)
    for chunk in chunks:
        by_document[chunk.document_id].append(chunk)
    for members in by_document.values():
        text, starts, end = "", [], 0
        for chunk in members:
            repeated = "".join(chunk.text[: max(0, end - chunk.start_char)].split())
            starts.append(len(text) - len(repeated))
            text += "".join(chunk.text.split())[len(repeated) :]
            end = max(end, chunk.start_char + len(chunk.text))
        begin = text.find(quotation)
        if begin >= 0:
            stops = [start + len("".join(chunk.text.split())) for start, chunk in zip(starts, members, strict=True)]
            overlaps = [
                min(begin + len(quotation), stop) - max(begin, start) for start, stop in zip(starts, stops, strict=True)
            ]
            return {
                (chunk.document_id, chunk.chunk_index): overlap
                for chunk, overlap in zip(members, overlaps, strict=True)
                if overlap > 0
            }
    return {}
