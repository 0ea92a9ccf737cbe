"""A golden set: questions and the passages that answer them, one JSON object a line.

    {"question": "How many days of leave are there?", "source": "handbook/leave.md", "answers": ["fifteen days a year"]}

`answers` (or `answer`) quotes the file: white space does not count, so a file can be wrapped anew. `document` may stand
for `source`, and `language` names the group that a question is counted in, the script of its letters otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vector_pipeline.errors import ConfigurationError

_SCRIPTS = (
    ("Korean", re.compile("[\uac00-\ud7a3]")),
    ("Japanese", re.compile("[\u3041-\u30ff]")),
    ("Chinese", re.compile("[\u4e00-\u9fff]")),
    ("Thai", re.compile("[\u0e01-\u0e4e]")),
    ("Cyrillic", re.compile("[\u0400-\u04ff]")),
    ("Latin", re.compile("[A-Za-z]")),
)


@dataclass(frozen=True, slots=True)
class GoldenQuestion:
    """A question, the file that answers it, and quotations of the passages that do."""

    line: int
    question: str
    source: str
    answers: tuple[str, ...]
    language: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A line of a golden set that cannot be used, and why."""

    line: int
    error: str


def read_golden_set(path: Path) -> Iterator[GoldenQuestion | Problem]:
    """Yield the questions of a file, and its invalid lines. Raises ConfigurationError if it cannot be read."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"the golden set {path} cannot be read ({reason}); give a JSONL file in UTF-8"
        ) from error
    # A string of JSON may hold the other characters at which `splitlines` cuts.
    return _questions(text.split("\n"))


def _questions(lines: Iterable[str]) -> Iterator[GoldenQuestion | Problem]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _question(number, json.loads(line))
            except json.JSONDecodeError as error:
                yield Problem(number, f"is not JSON ({error.msg[0].lower()}{error.msg[1:]} at column {error.colno:,})")
            except ValueError as error:
                yield Problem(number, str(error))
            except RecursionError:
                yield Problem(number, "is nested too deeply")


def _question(number: int, record: object) -> GoldenQuestion:
    if not isinstance(record, dict):
        raise ValueError("is no JSON object")
    question, source = record.get("question"), record.get("source", record.get("document"))
    answers = record.get("answers", record.get("answer"))
    answers = [answers] if isinstance(answers, str) else answers
    if not isinstance(question, str) or not question.strip():
        raise ValueError("has no question")
    if not isinstance(source, str) or not source:
        raise ValueError("names no source: the path of the file that answers it")
    if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a.strip() for a in answers):
        raise ValueError("has no answers: quotations of the file")
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for text in (question, source, *answers) for c in text):
        raise ValueError("has a NUL or a surrogate, which no loaded text has")
    language = record.get("language")
    return GoldenQuestion(
        number, question, source, tuple(answers), language if isinstance(language, str) else language_of(question)
    )


def language_of(text: str) -> str:
    """The language that a text's letters suggest, or their script."""
    return next((name for name, pattern in _SCRIPTS if pattern.search(text)), "other")
