"""The code location: the pipeline that the environment describes."""

from __future__ import annotations

import dagster as dg

from vector_pipeline.defs.build import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Built when Dagster asks for it, so that importing this module reads nothing.

    All of this code location is the pipeline's, so it also sets the executor of runs that the UI launches without a
    job, such as backfills: one process a run, as in the pipeline's own jobs.
    """
    return dg.Definitions.merge(build_definitions(), dg.Definitions(executor=dg.in_process_executor))
