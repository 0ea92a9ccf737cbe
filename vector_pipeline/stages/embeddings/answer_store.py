"""Store paid answers in Postgres when they arrive, and lose none while Postgres is away.

If an answer cannot be stored, it is tried again for `RETRY_SECONDS` and then spilled to a file under the home. If a
retry cannot help, it is spilled at once. The next run that embeds stores such files first.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vector_pipeline.embedding.models import usd
from vector_pipeline.embedding.roles import name_before_vectors
from vector_pipeline.embedding.values import Answer
from vector_pipeline.errors import ConfigurationError, DatabaseError, DatabaseUnavailable, counted, one_line
from vector_pipeline.pipeline.model import Target, roles_of_model
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.stages.embeddings.budget import Budget
from vector_pipeline.stages.embeddings.spills import (
    Reserve,
    Spilled,
    UnreadableSpill,
    folder_of,
    read_spilled,
    remove_abandoned,
    set_aside,
    spilled_files,
)
from vector_pipeline.store import rejected_texts, vectors
from vector_pipeline.store.claims import Claims
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.failures import PASSING, PostgresError
from vector_pipeline.store.fencing import owned_transaction
from vector_pipeline.store.shared import answered, spending
from vector_pipeline.store.space import Space, active_space, list_spaces
from vector_pipeline.store.spaces import open_space

LOOK_AGAIN_SECONDS = 1.0


@dataclass(slots=True)
class _Attempt:
    """The last attempt to store an answer. If its connection broke at COMMIT, Postgres may have stored it."""

    transaction: str | None = None
    """The number of its transaction, if it recorded a cost."""
    stored: int = 0
    """The number of vectors that were new."""
    is_counted: bool = False
    """Whether its vectors are known to be stored, and its cost is counted."""

    def was_committed(self, connection: Connection) -> bool:
        """Whether Postgres committed it. Raises DatabaseUnavailable while that is open."""
        return self.transaction is not None and spending.was_committed(connection, self.transaction)


class AnswerStore:
    """Stores the answers of one run in one space. Use as a context manager."""

    def __init__(
        self,
        pipeline: Pipeline,
        target: Target,
        bucket: str,
        claims: Claims,
        budget: Budget,
        log: Callable[[str], None],
    ) -> None:
        self.stored = 0
        self.rejected: dict[str, str] = {}
        self._pipeline = pipeline
        self._target = target
        self._bucket = bucket
        self._claims = claims
        self._budget = budget
        self._log = log
        self._lock = threading.Lock()
        self._hurried = threading.Event()
        self._takes = threading.Event()
        self._takes.set()
        dimensions = target.space.dimensions if target.space else None
        self._reserve = Reserve(pipeline.settings, target.name, dimensions)
        self._connection: Connection | None = None
        self._noted = -answered.EVERY_SECONDS
        """The time of the last call of `answered.note_answer`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reserve.__exit__()
        self._takes.set()
        self._disconnect()

    def expect(self, texts: int) -> None:
        """Wait while answers cannot be stored, then reserve room on disk for one more answer with this many texts.

        Call it before sending a request. Raises StorageError if there is no room.
        """
        self._takes.wait()
        self._reserve.hold(texts)

    async def deliver(self, answer: Answer) -> None:
        """Store an answer. Raises DatabaseError after it has been spilled instead."""
        try:
            await asyncio.to_thread(self._store_in_time, answer)
        except asyncio.CancelledError:
            # The thread cannot be stopped, but it can stop waiting for Postgres.
            self._hurried.set()
            raise

    def _store_in_time(self, answer: Answer) -> None:
        deadline = time.monotonic() + self._pipeline.settings.retry_seconds
        attempt = _Attempt()
        while True:
            try:
                with self._lock:
                    self._store(answer, attempt)
                self._takes.set()
                self._reserve.release(len(answer.inputs) + len(answer.rejected))
                return
            except PASSING as error:
                if self._takes.is_set():
                    self._log(
                        f"Postgres cannot store answers at present ({one_line(error)}); no more requests are sent, and "
                        "answers are kept until it can"
                    )
                # Stop at the first failure. Requests under way have their room on disk.
                self._takes.clear()
                if time.monotonic() > deadline or self._hurried.is_set():
                    raise DatabaseUnavailable(self._spill(answer, error)) from error
                self._hurried.wait(LOOK_AGAIN_SECONDS)
            except (DatabaseError, PostgresError) as error:
                raise DatabaseError(self._spill(answer, error)) from error
            except Exception as error:
                # Whatever the error is, the answer is paid for.
                self._spill(answer, error)
                raise

    def _store(self, answer: Answer, attempt: _Attempt) -> None:
        try:
            self._write(self._connected(), answer, attempt)
        except Exception:
            self._disconnect()
            raise
        # Claims that cannot be released now end with the run.
        with suppress(*PASSING):
            self._claims.release([*(i.content_hash for i in answer.inputs), *answer.rejected])

    def _write(self, connection: Connection, answer: Answer, attempt: _Attempt) -> None:
        if answer.inputs and not attempt.is_counted:
            self._write_vectors(connection, answer, attempt)
            if time.monotonic() - self._noted > answered.EVERY_SECONDS:
                answered.note_answer(connection, self._bucket)
                self._noted = time.monotonic()
        if answer.rejected:
            with owned_transaction(connection):
                rejected_texts.store_rejections(connection, self._target.name, answer.rejected)
            self.rejected.update((key.hex(), reason) for key, reason in answer.rejected.items())

    def _write_vectors(self, connection: Connection, answer: Answer, attempt: _Attempt) -> None:
        hashes = [i.content_hash for i in answer.inputs]
        reserved = sum(i.tokens for i in answer.inputs)
        space = self._target.space or self._open_space(connection, answer)
        # In one transaction, so that after a crash or a retry the cost of each vector is recorded exactly once.
        with owned_transaction(connection):
            stored = vectors.store_vectors(connection, space, hashes, answer.vectors)
            already = not stored and attempt.was_committed(connection)
            cost = self._budget.record(connection, answer.tokens, reserved=reserved, already=already)
            attempt.transaction = cost.transaction or attempt.transaction
            attempt.stored = stored or attempt.stored
        attempt.is_counted = True
        self._budget.count(cost)
        self.stored += attempt.stored
        self._pipeline.advance("texts embedded", len(hashes))

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._pipeline.database.connect(role="answers")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open_space(self, connection: Connection, answer: Answer) -> Space:
        """The space of a model whose dimensions are known only from its answers."""
        dimensions = int(answer.vectors.shape[1])
        index_type = self._pipeline.settings.index_type
        return open_space(connection, self._target.model, dimensions, self._target.roles, index_type)

    def _spill(self, answer: Answer, error: Exception) -> str:
        """Keep an answer in a file; returns a message about it."""
        where = f"Postgres at {self._pipeline.database.safe_url} could not store an answer ({one_line(error)})"
        if not answer.inputs:
            return where
        try:
            path = self._reserve.write(answer)
        except OSError as failed:
            folder = folder_of(self._pipeline.settings)
            texts = f"{len(answer.inputs):,} texts are paid for again"
            return f"{where}, and it cannot be kept in {folder} either ({failed.strerror}): {texts}"
        return f"{where}; it is kept in {path}, and the next run stores it"


def store_spilled(pipeline: Pipeline, log: Callable[[str], None]) -> None:
    """Store the answers that earlier runs paid for but could not store.

    A file without a valid answer is renamed, and its texts are paid for again. One that fits no space is kept, and
    `log` gets a line about it. Raises DatabaseError.
    """
    remove_abandoned(pipeline.settings)
    paths = spilled_files(pipeline.settings)
    if not paths:
        return
    unfit: dict[tuple[Path, str], int] = {}
    with pipeline.database.connect(role="answers") as connection:
        for path in paths:
            try:
                reason = _store_one(connection, pipeline, read_spilled(path), log)
                if reason:
                    unfit[path.parent, reason] = unfit.get((path.parent, reason), 0) + 1
            except FileNotFoundError:
                continue  # another run has already stored it
            except OSError as error:
                log(f"{path} cannot be read ({error.strerror}); it is left for the next run")
            except PASSING:
                raise
            except (UnreadableSpill, ConfigurationError, PostgresError) as error:
                set_aside(path)
                log(f"{path} cannot be stored ({one_line(error)}) and is renamed; its texts are paid for again")
    for (folder, reason), count in unfit.items():
        log(
            f"{counted(count, 'paid answer')} in {folder} cannot be stored: {reason}. The next run that finds such a "
            "space stores them (`vector-pipeline space start`); if it is not wanted, delete the folder"
        )


def _store_one(connection: Connection, pipeline: Pipeline, kept: Spilled, log: Callable[[str], None]) -> str | None:
    """Store the answer of a file; returns the reason if it fits no space."""
    dimensions = kept.vectors.shape[1]
    space = _space_of(connection, pipeline, kept.space, dimensions)
    if space is None:
        return f"no space is of {kept.space} with {dimensions:,} dimensions"
    cost = usd(space.model, kept.tokens, usd_per_million_tokens=pipeline.settings.usd_per_million_tokens)
    with owned_transaction(connection):
        stored = vectors.store_vectors(connection, space, kept.hashes, kept.vectors)
        # If no vector is new, another run has stored the same file and recorded its cost.
        if stored and cost is not None:
            spending.record(connection, space.model, cost, kept.tokens)
    kept.path.unlink(missing_ok=True)
    log(f"stored {counted(stored, 'vector')} that an earlier run had kept in {kept.path.name}")
    return None


def _space_of(connection: Connection, pipeline: Pipeline, name: str, dimensions: int) -> Space | None:
    """The space that vectors were spilled for; None if it was dropped, or has other dimensions."""
    roles = roles_of_model(pipeline.settings)
    if name == name_before_vectors(pipeline.model, roles.document) and active_space(connection) is None:
        # These are the first answers of a model whose dimensions were unknown.
        return open_space(connection, pipeline.model, dimensions, roles, pipeline.settings.index_type)
    of_name = (space for space in list_spaces(connection) if name in (space.name, space.name_before_vectors))
    return next((space for space in of_name if space.dimensions == dimensions), None)
