"""The names that a pipeline goes by in Dagster, each with the prefix of its own.

Names of the default pipeline, whose prefix is empty, are a contract: scripts outside the project use them.
"""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg


@dataclass(frozen=True, slots=True)
class Names:
    """Names under a prefix: `law` turns `ingest` into `law_ingest`, and the asset `chunks` into `law/chunks`."""

    prefix: str = ""

    def of(self, name: str) -> str:
        """A job's, sensor's, schedule's, resource's or pool's name."""
        return f"{self.prefix}_{name}" if self.prefix else name

    def asset(self, name: str) -> dg.AssetKey:
        """An asset's key."""
        return dg.AssetKey([self.prefix, name] if self.prefix else [name])

    @property
    def key_prefix(self) -> list[str] | None:
        """The prefix as asset decorators take it."""
        return [self.prefix] if self.prefix else None

    @property
    def group(self) -> str:
        """The group that the pipeline's assets are shown in."""
        return self.prefix or "vector_pipeline"

    @property
    def arrivals(self) -> dg.DynamicPartitionsDefinition:
        """The partitions: one per set of files that were found new, changed or deleted together."""
        return dg.DynamicPartitionsDefinition(name=self.of("arrivals"))
