"""The names that a pipeline has in Dagster, each with the pipeline's prefix.

Names of the default pipeline, whose prefix is empty, are stable: scripts outside the project use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

STAGES = ("documents", "chunks", "token_batches", "embeddings", "document_rows")
"""The assets that are partitioned by arrival, in the order in which they are materialized."""

ASSETS = ("source_files", *STAGES, "vector_index")
CHECKS = {
    "all_files_loaded": "source_files",
    "table_matches_disk": "source_files",
    "no_files_rejected": "documents",
    "no_orphans": "document_rows",
    "recall": "vector_index",
}
"""Each check, and the asset that it is on."""
MEASURED = "retrieval_quality"
MEASURED_CHECKS = {"retrieval_recall": MEASURED}
"""The asset and the check that only a pipeline with a golden set has."""
JOBS = ("scan", "ingest", "index", "batches")
SENSORS = ("source_files_sensor", "batches_sensor", "backfill_sensor", "vector_index_automation")
SCHEDULES = ("backfill_schedule", "scan_schedule")
RESOURCES = ("postgres", "source", "openai", "stages")
PARTITIONS = ("arrivals",)
POOLS = ("embeddings",)


@dataclass(frozen=True, slots=True)
class Names:
    """Names under a prefix: `law` turns `ingest` into `law_ingest`, and the asset `chunks` into `law/chunks`."""

    prefix: str = ""
    """Of jobs, sensors, schedules, resources, pools and partitions; the pipeline's NAME."""
    asset_prefix: tuple[str, ...] | None = None
    """Of asset keys; the same name when None."""
    golden_set: bool = False
    """Whether searches are measured on a golden set."""

    def of(self, name: str) -> str:
        """The name of a job, sensor, schedule, resource, pool or partitions definition."""
        return f"{self.prefix}_{name}" if self.prefix else name

    def asset(self, name: str) -> dg.AssetKey:
        """The key of an asset."""
        return dg.AssetKey([*(self.key_prefix or ()), name])

    @property
    def key_prefix(self) -> list[str] | None:
        """The prefix as asset decorators take it."""
        if self.asset_prefix is not None:
            return list(self.asset_prefix) or None
        return [self.prefix] if self.prefix else None

    @property
    def group(self) -> str:
        """The group that the UI shows the pipeline's assets in."""
        return self.prefix or "vector_pipeline"

    @property
    def arrivals(self) -> dg.DynamicPartitionsDefinition:
        """The partitions: one for each set of files that a scan found new, changed or deleted together."""
        return dg.DynamicPartitionsDefinition(name=self.of("arrivals"))

    @property
    def assets(self) -> list[dg.AssetKey]:
        """The keys of all assets, upstream first."""
        return [self.asset(name) for name in (*ASSETS, *([MEASURED] if self.golden_set else []))]

    @property
    def checks(self) -> list[dg.AssetCheckKey]:
        """The keys of all asset checks."""
        measured = MEASURED_CHECKS if self.golden_set else {}
        return [*self.checks_of_index, *self._check_keys(measured)]

    @property
    def checks_of_index(self) -> list[dg.AssetCheckKey]:
        """The keys of the checks that are made after the index is maintained."""
        return self._check_keys(CHECKS)

    def _check_keys(self, checks: Mapping[str, str]) -> list[dg.AssetCheckKey]:
        return [dg.AssetCheckKey(self.asset(asset), check) for check, asset in checks.items()]

    @property
    def jobs(self) -> list[str]:
        """The names of all jobs."""
        return [self.of(name) for name in JOBS]

    @property
    def sensors(self) -> list[str]:
        """The names of all sensors."""
        return [self.of(name) for name in SENSORS]

    @property
    def schedules(self) -> list[str]:
        """The names of all schedules."""
        return [self.of(name) for name in SCHEDULES]

    @property
    def resources(self) -> list[str]:
        """The keys of all resources."""
        return [self.of(name) for name in RESOURCES]

    @property
    def pools(self) -> list[str]:
        """The names of all concurrency pools."""
        return [self.of(name) for name in POOLS]
