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

    def sent_back(self, key: str, reason: str) -> None:
        """The API's queue was full: to be submitted again, its file is there."""
        ...

    def refused(self, key: str, lines: Sequence[int]) -> None:
        """The API refused these lines."""
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

    def hold(self, key: str) -> AbstractContextManager[bool]:
        """Whether this process has the batch to itself while the context lasts."""
        ...
