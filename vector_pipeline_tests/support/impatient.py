"""A code location with the pipeline of the environment, whose sensor does not wait long between two looks."""

import dagster as dg

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.opening import TickLimits

defs = dg.Definitions.merge(
    build_definitions(ticks=TickLimits(interval_seconds=1, scan_every_seconds=2.0)),
    dg.Definitions(executor=dg.in_process_executor),
)
