"""Paid answers into Postgres the moment they arrive; none is lost while it is away.

An answer that cannot be stored is tried again for as long as requests are, and then spilled to a file under the
home, which the next run that embeds loads first.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

import numpy as np
import psycopg

from vector_pipeline.embedding.values import Answer, Usage
from vector_pipeline.errors import DatabaseUnavailable
from vector_pipeline.stages.budget import Budget
from vector_pipeline.stages.model import Target
from vector_pipeline.stages.pipeline import Pipeline
from vector_pipeline.store import rejected_texts, spaces, vectors
from vector_pipeline.store.claims import Claims
from vector_pipeline.store.connection import Connection

LOOK_AGAIN_SECONDS = 1.0


class AnswerStore:
    """Stores the answers of one run in one space. Use as a context manager."""

    def __init__(
        self, pipeline: Pipeline, target: Target, claims: Claims, budget: Budget, log: Callable[[str], None]
    ) -> None:
        self.stored = 0
        self.rejected: dict[str, str] = {}
        self.usage = Usage()
        self._pipeline = pipeline
        self._target = target
        self._claims = claims
        self._budget = budget
        self._log = log
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    async def deliver(self, answer: Answer) -> None:
        """Store an answer. Raises DatabaseUnavailable once it has been spilled instead."""
        self.usage.requests += 1
        self.usage.inputs += len(answer.inputs)
        self.usage.tokens += answer.tokens
        await asyncio.to_thread(self._store_in_time, answer)

    def _store_in_time(self, answer: Answer) -> None:
        deadline = time.monotonic() + self._pipeline.settings.retry_seconds
        while True:
            try:
                with self._lock:
                    self._store(answer)
                return
            except (DatabaseUnavailable, psycopg.OperationalError) as error:
                self._connection = None
                if time.monotonic() > deadline:
                    path = self._spill(answer)
                    raise DatabaseUnavailable(
                        f"Postgres at {self._pipeline.database.safe_url} went away; the answers in hand are kept in "
                        f"{path} and stored by the next run"
                    ) from error
                self._log("Postgres is away; the answers in hand are kept until it is back")
                time.sleep(LOOK_AGAIN_SECONDS)

    def _store(self, answer: Answer) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = self._pipeline.database.connect(role="answers")
        connection = self._connection
        if len(answer.inputs):
            hashes = [i.content_hash for i in answer.inputs]
            space = self._target.space or self._open_space(connection, answer)
            self.stored += vectors.store_vectors(connection, space, hashes, answer.vectors)
            self._budget.record(connection, answer.tokens)
            self._pipeline.advance("texts embedded", len(hashes))
            self._claims.release(hashes)
        if answer.rejected:
            rejected_texts.note(connection, self._target.name, answer.rejected)
            self.rejected.update((key.hex(), reason) for key, reason in answer.rejected.items())
            self._claims.release(answer.rejected)

    def _open_space(self, connection: Connection, answer: Answer) -> spaces.Space:
        """The space of a model whose dimensions only its answers tell."""
        return spaces.open_space(connection, self._target.model, int(answer.vectors.shape[1]))

    def _spill(self, answer: Answer) -> Path:
        folder = _spilled(self._pipeline) / quote(self._target.name, safe="")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid.uuid4().hex}.npz"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as sink:
            keys = np.frombuffer(b"".join(i.content_hash for i in answer.inputs), dtype="V16")
            np.savez(sink, hashes=keys, vectors=answer.vectors)
        partial.rename(path)
        return path


def store_spilled(pipeline: Pipeline, log: Callable[[str], None]) -> None:
    """Store the answers that earlier runs paid for and could not store."""
    paths = sorted(_spilled(pipeline).glob("*/*.npz"))
    if not paths:
        return
    with pipeline.database.connect(role="answers") as connection:
        for path in paths:
            try:
                with np.load(path) as kept:
                    hashes, found = [bytes(key) for key in kept["hashes"]], kept["vectors"]
            except FileNotFoundError:
                continue  # another run was here first
            space = _space_of(connection, pipeline, unquote(path.parent.name), found.shape[1])
            if space is not None:
                stored = vectors.store_vectors(connection, space, hashes, found)
                path.unlink(missing_ok=True)
                log(f"stored {stored:,} vectors that an earlier run had kept in {path.name}")


def _space_of(connection: Connection, pipeline: Pipeline, name: str, dimensions: int) -> spaces.Space | None:
    """The space that vectors were spilled for; None where it was dropped."""
    if name == pipeline.model and spaces.active_space(connection) is None:
        # The first answers of a model whose dimensions only they told.
        return spaces.open_space(connection, name, dimensions)
    of_name = (space for space in spaces.list_spaces(connection) if name in (space.name, space.model))
    return next((space for space in of_name if space.dimensions == dimensions), None)


def _spilled(pipeline: Pipeline) -> Path:
    return pipeline.settings.home.absolute() / "spilled"
