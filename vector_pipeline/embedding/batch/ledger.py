"""What has to be known of batches for nothing to be paid twice: implemented in Postgres by `store.batches`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from vector_pipeline.embedding.values import EmbeddingInput


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that is not finished, as the ledger knows it; ids are None until the API has given them."""

    key: str
    space: str
    state: str
    file_id: str | None
    batch_id: str | None
    inputs: int
    tokens: int
    hours_out: float = 0.0
    """How long ago the API took it on; 0 where it has not."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What the API has told of an account's queue; None where it has told nothing."""

    limit: int | None = None
    """Tokens that the account may have queued."""
    part: int | None = None
    """Tokens that one batch should have at most: a larger one was not taken last."""


class BatchLedger(Protocol):
    """What is known of batches; written before the step that it describes is taken."""

    def plan(self, key: str, space: str, bucket: str, lines: Sequence[Sequence[EmbeddingInput]]) -> None:
        """Note a batch that is about to be uploaded, under a key of ours."""
        ...

    def uploaded(self, key: str, file_id: str) -> None:
        """Its file is at the API."""
        ...

    def submitted(self, key: str, batch_id: str) -> None:
        """The API has taken it on."""
        ...

    def refused(self, key: str, lines: Sequence[int]) -> None:
        """The API refused these lines."""
        ...

    def failed(self, key: str, lines: Sequence[int]) -> None:
        """These lines were not answered, by a fault that may pass: what fails a second time is sent the ordinary way."""
        ...

    def finished(self, key: str, outcome: str, error: str | None) -> None:
        """All that it brought is stored."""
        ...

    def unfinished(self) -> list[OpenBatch]:
        """The pipeline's batches that are not finished, oldest first."""
        ...

    def lines(self, key: str) -> Mapping[int, list[EmbeddingInput]]:
        """Its inputs by line, without their texts."""
        ...

    def queued_tokens(self, bucket: str) -> int:
        """Tokens of an account's queue, by all pipelines of the database."""
        ...

    def queue(self, bucket: str) -> Queue:
        """What is known of an account's queue."""
        ...

    def learn_queue(self, bucket: str, limit: int | None, part: int) -> None:
        """Keep what a refusal told: the account's limit, where it was named, and how large the next part may be."""
        ...

    def was_taken(self, bucket: str, tokens: int) -> None:
        """A batch of so many tokens was taken on: the next may have twice as many."""
        ...

    def hold(self, key: str) -> AbstractContextManager[bool]:
        """Whether this process has the batch to itself while the context lasts."""
        ...
