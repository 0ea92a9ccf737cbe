"""The events of buckets inside a tick of the sensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vector_pipeline.defs.opening import TickLimits
from vector_pipeline.defs.resources import SourceResource
from vector_pipeline.errors import ConfigurationError, SourceError
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.sources.queue import EventQueue
from vector_pipeline.sources.remote import RemoteSource
from vector_pipeline.stages.bucket_events import EventsTaken, Received, scan_events, with_events
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.locks import scanning
from vector_pipeline.store.scans import last_scans


@dataclass(frozen=True, slots=True)
class TickEvents:
    """What a tick read from the queue of events."""

    roots: Sequence[str] = ()
    """The sources that need no listing now, because events name what changes in them."""
    taken: EventsTaken | None = None
    line: str = ""
    failed: str = ""
    """Why the queue cannot be read. The sources are listed at night all the same."""
    must_list: bool = False
    """Whether an event names rules of what to leave out, which only a listing applies."""


def events_in_tick(connection: Connection, pipeline: Pipeline, limits: TickLimits) -> TickEvents:
    """Read a number of messages from the queue, look at what they name, and delete them.

    Sources that were never listed are left to a listing. A queue that cannot be read does not stop the tick.
    """
    url = pipeline.settings.events_url
    sources = with_events(SourceResource(pipeline.settings.sources).open(connection).sources)
    listed = {last.root for last in last_scans(connection)}
    sources = [source for source in sources if source.root in listed]
    if url is None or not sources:
        return TickEvents()
    roots = [source.root for source in sources]
    if busy := scanning(connection, roots):
        return TickEvents(roots, line=f"a scan of {', '.join(sorted(busy))} is under way; events wait for its end")
    try:
        taken = _take(pipeline, EventQueue(url), sources, limits)
    except (ConfigurationError, SourceError) as error:
        return TickEvents(roots, line=str(error), failed=str(error))
    return TickEvents(roots, taken, str(taken), must_list=bool(taken.rules_changed))


def _take(pipeline: Pipeline, queue: EventQueue, sources: Sequence[RemoteSource], limits: TickLimits) -> EventsTaken:
    received = Received(queue, sources, queue.receive(limits.events_per_tick))
    return scan_events(pipeline.database, received, pipeline.scan_options("sensor"))
