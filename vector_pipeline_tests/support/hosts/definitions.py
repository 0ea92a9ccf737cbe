"""The pipeline of the environment: its source is scanned once, and a run without its lock soon counts as lost."""

import dagster as dg

from vector_pipeline.defs.build import build_definitions
from vector_pipeline.defs.opening import TickLimits

TICKS = TickLimits(interval_seconds=1, scan_every_seconds=600.0, start_seconds=6.0, settle_seconds=0.0)

defs = dg.Definitions.merge(build_definitions(ticks=TICKS), dg.Definitions(executor=dg.in_process_executor))
