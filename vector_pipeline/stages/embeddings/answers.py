"""Paid answers into Postgres the moment they arrive; none is lost while it is away.

An answer that cannot be stored is tried again for as long as requests are, and then spilled to a file under the
home, which the next run that embeds loads first. So it is at once where trying again cannot help.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

import numpy as np

from vector_pipeline.embedding.models import usd
from vector_pipeline.embedding.providers.base import Vectors
from vector_pipeline.embedding.values import Answer
from vector_pipeline.errors import DatabaseError, DatabaseUnavailable, one_line
from vector_pipeline.pipeline.model import Target
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.embeddings.budget import Budget
from vector_pipeline.store import rejected_texts, vectors
from vector_pipeline.store.claims import Claims
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.failures import PASSING, ConnectionLost, PostgresError
from vector_pipeline.store.fencing import owned_transaction
from vector_pipeline.store.shared import answered, spending
from vector_pipeline.store.space import Space, active_space, list_spaces
from vector_pipeline.store.spaces import open_space

LOOK_AGAIN_SECONDS = 1.0

# What numpy raises for a file that is no archive of arrays, or half of one.
_UNREADABLE = (zipfile.BadZipFile, ValueError, KeyError, EOFError)


class AnswerStore:
    """Stores the answers of one run in one space. Use as a context manager."""

    def __init__(
        self, pipeline: Pipeline, target: Target, claims: Claims, budget: Budget, log: Callable[[str], None]
    ) -> None:
        self.stored = 0
        self.rejected: dict[str, str] = {}
        self._pipeline = pipeline
        self._target = target
        self._claims = claims
        self._budget = budget
        self._log = log
        self._lock = threading.Lock()
        self._hurried = threading.Event()
        self._connection: Connection | None = None
        self._noted = -answered.EVERY_SECONDS
        """When it was last noted that the API answers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect()

    async def deliver(self, answer: Answer) -> None:
        """Store an answer. Raises DatabaseError once it has been spilled instead."""
        try:
            await asyncio.to_thread(self._store_in_time, answer)
        except asyncio.CancelledError:
            # The thread cannot be stopped; it need not wait for Postgres any longer.
            self._hurried.set()
            raise

    def _store_in_time(self, answer: Answer) -> None:
        deadline = time.monotonic() + self._pipeline.settings.retry_seconds
        while True:
            try:
                with self._lock:
                    self._store(answer)
                return
            except PASSING as error:
                if time.monotonic() > deadline or self._hurried.is_set():
                    raise DatabaseUnavailable(self._spilled(answer, error)) from error
                self._log("Postgres is away; the answers in hand are kept until it is back")
                self._hurried.wait(LOOK_AGAIN_SECONDS)
            except (DatabaseError, PostgresError) as error:
                raise DatabaseError(self._spilled(answer, error)) from error

    def _store(self, answer: Answer) -> None:
        try:
            self._write(self._connected(), answer)
        except Exception:
            self._disconnect()
            raise
        # Where they are gone with their session there is nothing to give back.
        with suppress(ConnectionLost):
            self._claims.release([*(i.content_hash for i in answer.inputs), *answer.rejected])

    def _write(self, connection: Connection, answer: Answer) -> None:
        hashes = [i.content_hash for i in answer.inputs]
        if hashes:
            space = self._target.space or self._open_space(connection, answer)
            # Together, so that neither a crash nor a second try leaves a vector unpaid or paid twice in the books.
            with owned_transaction(connection):
                stored = vectors.store_vectors(connection, space, hashes, answer.vectors)
                self._budget.record(connection, answer.tokens, reserved=sum(i.tokens for i in answer.inputs))
            self.stored += stored
            self._pipeline.advance("texts embedded", len(hashes))
            if time.monotonic() - self._noted > answered.EVERY_SECONDS:
                answered.note_answer(connection, self._pipeline.client_config.bucket)
                self._noted = time.monotonic()
        if answer.rejected:
            with owned_transaction(connection):
                rejected_texts.store_rejections(connection, self._target.name, answer.rejected)
            self.rejected.update((key.hex(), reason) for key, reason in answer.rejected.items())

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._pipeline.database.connect(role="answers")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open_space(self, connection: Connection, answer: Answer) -> Space:
        """The space of a model whose dimensions only its answers tell."""
        return open_space(connection, self._target.model, int(answer.vectors.shape[1]))

    def _spilled(self, answer: Answer, error: Exception) -> str:
        """Keep an answer in a file; returns what to say of it."""
        where = f"Postgres at {self._pipeline.database.safe_url} took no answer ({one_line(error)})"
        if not answer.inputs:
            return where
        folder = _folder(self._pipeline) / quote(self._target.name, safe="")
        try:
            path = _spill(folder, answer)
        except OSError as failed:
            return f"{where}, and {folder} none either ({failed.strerror}): {len(answer.inputs):,} texts are paid again"
        return f"{where}; the answers in hand are kept in {path} and stored by the next run"


def _spill(folder: Path, answer: Answer) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.npz"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as sink:
        keys = np.frombuffer(b"".join(i.content_hash for i in answer.inputs), dtype="V16")
        np.savez(sink, hashes=keys, vectors=answer.vectors, tokens=np.int64(answer.tokens))
        sink.flush()
        os.fsync(sink.fileno())
    partial.rename(path)
    return path


def store_spilled(pipeline: Pipeline, log: Callable[[str], None]) -> None:
    """Store the answers that earlier runs paid for and could not store."""
    paths = sorted(_folder(pipeline).glob("*/*.npz"))
    if not paths:
        return
    with pipeline.database.connect(role="answers") as connection:
        for path in paths:
            try:
                with np.load(path) as kept:
                    hashes, found = [bytes(key) for key in kept["hashes"]], kept["vectors"]
                    # Files of versions before 2026-11-26 do not say what was billed for them.
                    tokens = int(kept["tokens"]) if "tokens" in kept else 0
            except FileNotFoundError:
                continue  # another run was here first
            except _UNREADABLE:
                path.rename(path.with_name(f"{path.name}.unreadable"))
                log(f"{path} cannot be read and is set aside; what it held is paid again")
                continue
            space = _space_of(connection, pipeline, unquote(path.parent.name), found.shape[1])
            if space is not None:
                stored = _store_kept(connection, pipeline, space, hashes, found, tokens)
                path.unlink(missing_ok=True)
                log(f"stored {stored:,} vectors that an earlier run had kept in {path.name}")


def _store_kept(
    connection: Connection,
    pipeline: Pipeline,
    space: Space,
    hashes: list[bytes],
    found: Vectors,
    tokens: int,
) -> int:
    cost = usd(space.model, tokens, usd_per_million_tokens=pipeline.settings.usd_per_million_tokens)
    with connection.transaction():
        stored = vectors.store_vectors(connection, space, hashes, found)
        # Where none is new it was counted already: by another run that had the same file in hand.
        if stored and cost is not None:
            spending.record(connection, space.model, cost, tokens)
    return stored


def _space_of(connection: Connection, pipeline: Pipeline, name: str, dimensions: int) -> Space | None:
    """The space that vectors were spilled for; None where it was dropped."""
    if name == pipeline.model and active_space(connection) is None:
        # The first answers of a model whose dimensions only they told.
        return open_space(connection, name, dimensions)
    of_name = (space for space in list_spaces(connection) if name in (space.name, space.model))
    return next((space for space in of_name if space.dimensions == dimensions), None)


def _folder(pipeline: Pipeline) -> Path:
    return pipeline.settings.home.absolute() / "spilled"
