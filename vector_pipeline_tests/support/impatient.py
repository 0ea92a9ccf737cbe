"""A code location with the pipeline of the environment, whose sensor does not wait long between two looks."""

from vector_pipeline.defs import ticks

ticks.INTERVAL_SECONDS = 1
ticks.SCAN_EVERY_SECONDS = 2

from vector_pipeline.defs.build import build_definitions  # noqa: E402  (what it imports takes over the two)

defs = build_definitions()
