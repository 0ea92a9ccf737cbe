"""How far the load of pending files is: the share that is loaded, the rate, the time left, and what was spent today."""

from __future__ import annotations

from dataclasses import dataclass

from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.shared.spending import spent_today

# The rate is that of the arrivals which were finished in this time.
RECENT_MINUTES = 15


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """The progress of loads while files are pending."""

    loaded: int
    """Files in the table, now and before this load."""
    pending: int
    files_per_minute: float | None
    """None if no arrival was finished lately."""
    usd_today: float

    @property
    def share(self) -> float:
        """The share of the files that is loaded."""
        return self.loaded / (self.loaded + self.pending)

    @property
    def minutes_left(self) -> float | None:
        """The time that the pending files need at the present rate; None without a rate."""
        return self.pending / self.files_per_minute if self.files_per_minute else None

    def __str__(self) -> str:
        parts = [f"{self.loaded:,} of {self.loaded + self.pending:,} files ({self.share:.0%})"]
        if self.files_per_minute and self.minutes_left is not None:
            parts.append(f"{self.files_per_minute:,.0f} a minute")
            parts.append(f"about {_duration(self.minutes_left)} left")
        return ", ".join([*parts, f"${self.usd_today:,.2f} spent today"])


def load_progress(connection: Connection, counts: manifest.ManifestCounts | None = None) -> LoadProgress | None:
    """The progress of loads; None if no file is pending. It reads the counts of files and the arrivals of a few minutes.

    `counts` are those of all files, where the caller has them.
    """
    counts = counts or manifest.count_files(connection)
    if not counts.pending:
        return None
    row = connection.execute(
        "WITH recent AS (SELECT files, created_at FROM arrivals "
        "WHERE finished_at > pg_catalog.now() - %(span)s::interval) "
        "SELECT pg_catalog.sum(files), extract(epoch FROM pg_catalog.now() - "
        "greatest(pg_catalog.min(created_at), pg_catalog.now() - %(span)s::interval)) / 60 FROM recent",
        {"span": f"{RECENT_MINUTES} minutes"},
    ).fetchone()
    assert row is not None
    files, minutes = row
    return LoadProgress(
        loaded=counts.loaded,
        pending=counts.pending,
        files_per_minute=float(files) / float(minutes) if files and minutes else None,
        usd_today=spent_today(connection),
    )


def _duration(minutes: float) -> str:
    if minutes < 1:
        return "a minute"
    if minutes < 90:
        return f"{minutes:,.0f} min"
    return f"{minutes / 60:,.1f} h"
