"""Search: split a question into words, embed it, and find the chunks that answer it best."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from vector_pipeline.errors import ConfigurationError, one_line
from vector_pipeline.pipeline.model import check_model
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.queries.question_vectors import QuestionVectors
from vector_pipeline.settings import EMBEDDED_MODELS
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.failures import PostgresError
from vector_pipeline.store.roots import require_root
from vector_pipeline.store.search import hybrid
from vector_pipeline.store.search.by_vector import Vector
from vector_pipeline.store.search.filters import Filter
from vector_pipeline.store.search.hybrid import Mode, Question
from vector_pipeline.store.search.results import SearchResult
from vector_pipeline.store.shared.answered import note_answer
from vector_pipeline.store.space import Space
from vector_pipeline.text.terms import MAX_QUERY_CHARACTERS

# A NUL as JSON writes it: an even number of backslashes stands before it, since each of a text is two in JSON.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def search(
    pipeline: Pipeline,
    query: str,
    k: int = 10,
    *,
    mode: Mode = "auto",
    source: str | None = None,
    root: str | None = None,
    where: Mapping[str, Any] | None = None,
    context: int = 0,
) -> list[SearchResult]:
    """The k chunks that answer a question best. `Corpus.search` explains the arguments."""
    question = question_of(query, k, mode=mode, source=source, root=root, where=where, context=context)
    with QuestionVectors(pipeline) as vectors, pipeline.database.connect(role="search", row_policies=True) as connection:
        return answer(pipeline, connection, vectors, question)


def question_of(
    query: str,
    k: int,
    *,
    mode: Mode,
    source: str | None,
    root: str | None,
    where: Mapping[str, Any] | None,
    context: int,
) -> Question:
    """Check the arguments of a search. Raises ConfigurationError for an empty question or an invalid argument."""
    # No text holds NUL, or characters that UTF-8 cannot encode.
    text = "".join(" " if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in query[:MAX_QUERY_CHARACTERS]).strip()
    if not text and query.replace("\0", " ").strip():
        raise ConfigurationError(f"the query {query[:80]!r} holds bytes that are not UTF-8; write it in UTF-8")
    if not text:
        raise ConfigurationError("the query is empty; ask something")
    if mode not in ("auto", "hybrid", "words", "meaning"):
        raise ConfigurationError(f"the mode is {mode!r}; it must be auto, hybrid, words or meaning")
    if context < 0:
        raise ConfigurationError(f"context is {context}; it must be 0 or more")
    if not isinstance(k, int):
        raise ConfigurationError(f"k is {k!r}; it must be a whole number")
    if where is not None and not isinstance(where, Mapping):
        raise ConfigurationError(f"where is {where!r}; it must map fields of the metadata to their values")
    _require_storable(source=source, root=root, where=where)
    return Question(text, k, mode, Filter(source, root, where), context)


def _require_storable(**filters: object) -> None:
    """Raise ConfigurationError for a filter with values that Postgres cannot compare with what it stores."""
    for name, value in filters.items():
        try:
            shown = json.dumps(value, ensure_ascii=False, allow_nan=False)
            shown.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"{name} cannot be compared with anything stored ({one_line(error)}); write text in UTF-8 and other "
                "values as in JSON"
            ) from error
        if _NUL.search(shown):
            raise ConfigurationError(f"{name} has a NUL, which nothing stored has; leave it out")


def answer(
    pipeline: Pipeline,
    connection: Connection,
    vectors: QuestionVectors,
    question: Question,
    *,
    space: str | None = None,
) -> list[SearchResult]:
    """The results of a question, by the vectors of the active space or of another that is named.

    The question is embedded by the model of the active space, even if the settings now name another one. It does not
    wait behind a bulk load. Raises ConfigurationError if nothing was ingested from the root of the question.
    """

    def embed(space: Space) -> Vector:
        if pipeline.settings.uses_embedded_model != (space.model in EMBEDDED_MODELS):
            check_model(connection, pipeline.settings)
        vector = vectors.of(space, question.text)
        if space.model not in EMBEDDED_MODELS:
            with suppress(PostgresError):  # a read-only role may search too
                note_answer(connection, pipeline.client_config.bucket)
        return vector

    limits = question.limits
    if limits.root is not None:
        limits = replace(limits, root=require_root(connection, limits.root))
    return hybrid.search(connection, replace(question, limits=limits, space=space), embed)
