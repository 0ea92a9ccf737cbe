"""The options of a scan, from the settings and the caller."""

from __future__ import annotations

from dataclasses import dataclass, field

from vector_pipeline.sources.selection import Choice


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """The options of a scan.

    `quiet_seconds` skips files that changed within that time; the sensor uses it, and by hand it is 0.
    `confirm_deletions` accepts deletions even if most files are missing from the listing. With `max_arrivals` a scan
    ends after registering that number, so that a large source is loaded in portions. With `max_seconds` it ends after
    that time. `choice` says which files are wanted.
    """

    max_files: int = 1_000
    max_bytes: int = 64 * 1024 * 1024
    quiet_seconds: float = 0.0
    max_deleted_share: float = 0.5
    max_arrivals: int | None = None
    max_seconds: float | None = None
    confirm_deletions: bool = False
    trigger: str = "cli"
    choice: Choice = field(default_factory=Choice)
