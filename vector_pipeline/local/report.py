"""What an `ingest` by hand did, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from vector_pipeline.stages.scan import ScanResult


@dataclass(slots=True)
class IngestReport:
    """What one `ingest` did: the totals of its scans and runs."""

    scans: list[ScanResult] = field(default_factory=list)
    arrivals: int = 0
    loaded: int = 0
    deleted: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    pending: int = 0
    chunks: int = 0
    tokens: int = 0
    requests: int = 0
    embedded: int = 0
    reused: int = 0
    rows: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    """One line per run that failed, and whatever else was left undone."""

    @property
    def unchanged(self) -> int:
        """Files that needed no work."""
        return sum(result.unchanged + result.touched for result in self.scans)
