"""Options for a pipeline in a Dagster project: keys, owners, automation, and which sensors are on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from vector_pipeline.defs.names import SCHEDULES, SENSORS
from vector_pipeline.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class DagsterOptions:
    """What the host project decides about a pipeline's definitions. Raises ConfigurationError for an unknown name."""

    key_prefix: Sequence[str] | None = None
    """Prefix of asset keys. None: the pipeline's NAME."""
    group_name: str | None = None
    """Group of the assets. None: the pipeline's NAME, or `vector_pipeline`."""
    owners: Sequence[str] = ()
    """Owners of the assets: email addresses, or `team:NAME`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the assets, added to those that the pipeline sets."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Metadata of the assets, added to those that the pipeline sets."""
    deps: Sequence[dg.AssetKey] = ()
    """Assets that write the source: after each of their materializations the source is scanned."""
    automation_condition: dg.AutomationCondition[Any] | None = None
    """When `source_files` is materialized, besides the sensor. None: on every update of `deps`."""
    freshness: dg.FreshnessPolicy | None = None
    """Freshness policy of `source_files` and `vector_index`."""
    switches: Mapping[str, bool] = field(default_factory=dict)
    """Sensors and schedules by their names without prefix: whether they are on from the start."""
    executor: dg.ExecutorDefinition | None = dg.in_process_executor
    """Executor of the pipeline's jobs. None: that of the host."""
    pool: str | None = None
    """Concurrency pool of `embeddings`. None: `embeddings` under the pipeline's NAME."""

    def __post_init__(self) -> None:
        known = {*SENSORS, *SCHEDULES}
        for name in self.switches:
            if name not in known:
                raise ConfigurationError(
                    f"'{name}' is not a sensor or schedule of the pipeline; they are {', '.join(sorted(known))}"
                )

    def sensor_status(self, name: str, default: bool = True) -> dg.DefaultSensorStatus:
        """Whether a sensor is on from the start."""
        is_on = self.switches.get(name, default)
        return dg.DefaultSensorStatus.RUNNING if is_on else dg.DefaultSensorStatus.STOPPED

    def schedule_status(self, name: str) -> dg.DefaultScheduleStatus:
        """Whether a schedule is on from the start."""
        is_on = self.switches.get(name, True)
        return dg.DefaultScheduleStatus.RUNNING if is_on else dg.DefaultScheduleStatus.STOPPED
