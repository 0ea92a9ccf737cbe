"""A scan inside a tick of the sensor or the schedule, where the source is small and near enough."""

from __future__ import annotations

from vector_pipeline.defs.resources import SourceResource
from vector_pipeline.sources.source import Source
from vector_pipeline.stages.pipeline import Pipeline
from vector_pipeline.stages.scan import scan
from vector_pipeline.store import manifest

# Above this many known files a tick does not scan, and neither where listing is slow: it would hold the daemon.
FILES_PER_TICK = 100_000


def scan_in_tick(
    connection: manifest.Connection, pipeline: Pipeline, trigger: str, max_arrivals: int | None = None
) -> str | None:
    """Scan the sources and say what was found; None, and nothing done, where that is for a run of its own.

    Files that changed within QUIET_SECONDS are left alone, and after `max_arrivals` the rest waits for the next scan.
    """
    sources = SourceResource(pipeline.settings.source).open(connection)
    if any(_takes_long(connection, source) for source in sources):
        return None
    options = pipeline.scan_options(trigger, quiet=True, max_arrivals=max_arrivals)
    results = [scan(pipeline.database, source, options) for source in sources]
    found = "; ".join(str(result) for result in results)
    warnings = " ".join(result.warning for result in results if result.warning)
    return f"{found}. {warnings}" if warnings else found


def _takes_long(connection: manifest.Connection, source: Source) -> bool:
    return not source.reads_cheaply or manifest.count_present(connection, source.root) > FILES_PER_TICK
