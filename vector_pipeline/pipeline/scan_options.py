"""How a scan goes about it, as the settings and its caller say."""

from __future__ import annotations

from dataclasses import dataclass, field

from vector_pipeline.sources.selection import Choice


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How a scan goes about it.

    `quiet_seconds` leaves files alone that changed within that time (the sensor's; by hand it is 0).
    `confirm_deletions` takes a listing for true however short it is. With `max_arrivals` a scan ends after it has
    registered so many, so that the first one of a large source comes in portions, and with `max_seconds` after so long.
    `choice` says which files are wanted.
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
