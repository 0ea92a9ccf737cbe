"""The report of an `ingest` by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from vector_pipeline.stages.scan import ScanResult

if TYPE_CHECKING:
    # It imports Dagster, which an `ingest` that has nothing to do does not need.
    from vector_pipeline.defs.opening import StageOutcome
    from vector_pipeline.stages.embeddings.plan import EmbedResult


@dataclass(slots=True)
class IngestReport:
    """The totals of the scans and runs of one `ingest`."""

    scans: list[ScanResult] = field(default_factory=list)
    arrivals: int = 0
    elsewhere: int = 0
    """Arrivals that other processes loaded meanwhile. What they did is in their reports."""
    loaded: int = 0
    deleted: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    """Path to reason, of the files that this run rejected."""
    rejected_earlier: dict[str, str] = field(default_factory=dict)
    """Of the files of these sources that an earlier run rejected, and which are so still."""
    pending: int = 0
    chunks: int = 0
    tokens: int = 0
    requests: int = 0
    embedded: int = 0
    reused: int = 0
    rows: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    gone: list[str] = field(default_factory=list)
    """Roots whose folder is not on this machine any more: what was loaded from them is still found."""
    failures: list[str] = field(default_factory=list)
    """One line for each failed run and for anything else that was not done."""

    @property
    def unchanged(self) -> int:
        """The number of files that needed no work."""
        return sum(result.unchanged + result.touched for result in self.scans)

    def add(self, outcome: StageOutcome) -> None:
        """Add the outcome of one stage."""
        from vector_pipeline.stages.chunks import ChunksOutcome
        from vector_pipeline.stages.documents import DocumentsOutcome
        from vector_pipeline.stages.embeddings.plan import EmbedResult
        from vector_pipeline.stages.load import LoadResult
        from vector_pipeline.stages.token_batches import PlanOutcome

        match outcome:
            case DocumentsOutcome():
                pass  # its files are counted later, as loaded, rejected or pending
            case ChunksOutcome():
                self.chunks += outcome.chunks
            case PlanOutcome():
                self.reused += outcome.reused_chunks
            case EmbedResult():
                self._add_embedded(outcome)
            case LoadResult():
                self.rows += outcome.rows
                self.loaded += outcome.loaded
                self.deleted += outcome.deleted
            case _:
                assert_never(outcome)

    def include(self, other: IngestReport) -> None:
        """Add what runs in another process did."""
        for name in ("arrivals", "loaded", "deleted", "pending", "chunks", "tokens", "requests", "embedded", "reused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.rows += other.rows
        self.usd += other.usd
        self.rejected |= other.rejected
        self.failures += other.failures

    def _add_embedded(self, result: EmbedResult) -> None:
        self.requests += result.usage.requests
        self.embedded += result.usage.inputs
        self.tokens += result.usage.tokens
        self.usd += result.usd or 0.0
        if result.stopped:
            self.failures.append(result.stopped)
