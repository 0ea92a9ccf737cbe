"""The ledger of batches: it records each step, so that nothing is paid twice. `store.shared.batches` implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from vector_pipeline.embedding.values import EmbeddingInput

# The completion window of 24 hours with a margin: after that a batch that the API does not know is not running either.
MAX_HOURS_OUT = 26.0


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """An unfinished batch in the ledger. Ids are None until the API has returned them."""

    key: str
    space: str
    state: str
    file_id: str | None
    batch_id: str | None
    inputs: int
    tokens: int
    hours_out: float = 0.0
    """The hours since it was submitted; 0 if it was not."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What refusals have shown about an account's queue; None if nothing is known."""

    limit: int | None = None
    """The number of tokens that the account may have queued."""
    part: int | None = None
    """The largest number of tokens that the next batch should have, because a larger one was refused last."""


class BatchLedger(Protocol):
    """The batches and their states. Each entry is written before the step that it describes."""

    def plan(self, key: str, space: str, bucket: str, lines: Sequence[Sequence[EmbeddingInput]]) -> None:
        """Record a batch that is about to be uploaded, under our own key."""
        ...

    def uploaded(self, key: str, file_id: str) -> None:
        """Record that the file of a batch was uploaded."""
        ...

    def submitted(self, key: str, batch_id: str) -> None:
        """Record that the API has created the batch."""
        ...

    def refused(self, key: str, lines: Sequence[int]) -> None:
        """Record lines that the API refused."""
        ...

    def failed(self, key: str, lines: Sequence[int]) -> None:
        """Record lines that failed in a way that may pass. If one fails a second time, ordinary requests send it."""
        ...

    def finished(self, key: str, outcome: str, error: str | None) -> None:
        """Record that all answers of a batch are stored."""
        ...

    def unfinished(self) -> list[OpenBatch]:
        """The pipeline's batches that are not finished, oldest first."""
        ...

    def lines(self, key: str) -> Mapping[int, list[EmbeddingInput]]:
        """The inputs of a batch by line, without their texts."""
        ...

    def queued_tokens(self, bucket: str) -> int:
        """The tokens that all pipelines of the database have in an account's queue."""
        ...

    def queue(self, bucket: str) -> Queue:
        """What is known about an account's queue."""
        ...

    def learn_queue(self, bucket: str, limit: int | None, part: int) -> None:
        """Store what a refusal showed: the account's limit, if it was named, and the size of the next batch."""
        ...

    def was_taken(self, bucket: str, tokens: int) -> None:
        """Record that a batch with this number of tokens was accepted. The next one may have twice as many."""
        ...

    def hold(self, key: str) -> AbstractContextManager[bool]:
        """Lock a batch while the context lasts; yields whether it was free."""
        ...
