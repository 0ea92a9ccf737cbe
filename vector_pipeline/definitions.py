"""The code location: the pipeline that the environment describes."""

from __future__ import annotations

import dagster as dg

from vector_pipeline.defs.build import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Built when Dagster asks for it, so that importing this module reads nothing."""
    return build_definitions()
