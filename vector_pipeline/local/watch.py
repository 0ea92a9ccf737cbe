"""`ingest --watch`: one process that keeps running and brings the table in step whenever a source changes.

Folders of this machine are watched by the operating system, which names the files that change: only those are looked at
and loaded. When nothing has changed for a moment, the whole source is scanned and the index is maintained; a search
finds texts that are not in the index yet all the same. With EVENTS_URL the events of a bucket name its objects that
change, and the bucket is listed once a day. Other buckets, and folders that cannot be watched, are scanned every so
often. All runs go through Dagster, on the instance that stays open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NoReturn

from watchfiles import watch as watch_folders

from vector_pipeline.errors import ConfigurationError, PipelineError, SourceError
from vector_pipeline.local.beside import InstancePlace
from vector_pipeline.local.ingest import Ingesting
from vector_pipeline.local.instance import open_instance_in_process
from vector_pipeline.local.report import IngestReport
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.sources.base import Source
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.selection import IGNORE_FILE

if TYPE_CHECKING:
    # It imports fsspec, which only buckets need.
    from vector_pipeline.stages.bucket_events import Received

# Changes within this time count as one, for example if an editor writes a file and renames it.
DEBOUNCE_MS = 200
# The time after which the watching thread notices that it should end, and reports that it has begun.
TIMEOUT_MS = 500
# The most messages of a queue that are handled together.
EVENTS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class WatchTimes:
    """The times of a watch, in seconds."""

    rescan: float = 60.0
    """A watched folder is scanned as a whole at least this often: an event may be lost, and failed arrivals are tried
    again."""
    poll: float = 5.0
    """A source that cannot be watched is scanned this often."""
    listing: float = 86_400.0
    """A bucket whose events are read is listed this often."""
    events: int = 20
    """A request for events waits this long for one: the longest time that SQS allows."""
    settle: float = 3.0
    """If nothing has changed for this time, the whole source is scanned and the index maintained."""


ORDINARY = WatchTimes()


def watch(
    pipeline: Pipeline,
    locations: Sequence[str],
    *,
    done: Callable[[IngestReport], None],
    say: Callable[[str], None] = lambda _: None,
    place: InstancePlace | None = None,
    confirm_deletions: bool = False,
    processes: int | None = 1,
    times: WatchTimes = ORDINARY,
) -> NoReturn:
    """Keep the table in step with some sources until an interruption; `done` receives the report of each `ingest`.

    Runs are kept in the instance at `place` (default: that of the settings). `say` receives what happens beside them.
    Raises what the first `ingest` raises, and ConfigurationError later. After another PipelineError, such as of a
    Postgres that does not answer, it says so and tries again.
    """
    opened = {location: open_source(location) for location in locations}
    folders = [source.root for source in opened.values() if source.reads_cheaply]
    events = _bucket_events(pipeline.settings.events_url, opened.values())
    with (
        open_instance_in_process(pipeline.settings, place) as instance,
        _watched(folders, say, times) as changes,
        Ingesting(pipeline, instance=instance, place=place, processes=processes) as ingesting,
    ):
        done(ingesting.ingest(locations, confirm_deletions=confirm_deletions))
        say(f"watching {', '.join(locations)}; Ctrl-C ends it")
        others = [location for location, source in opened.items() if not (events and source in events.sources)]
        is_watched = len(folders) == len(others) and changes.are_seen
        every = times.rescan if is_watched else times.poll
        if events is not None:
            changes.receive(events, say, times)
        _Watch(ingesting, locations, others, changes, times, every, done, say).run()


def _bucket_events(url: str | None, sources: Collection[Source]) -> Received | None:
    """The queue of events and the buckets among the sources, without messages yet; None if there are none."""
    if url is None or all(source.reads_cheaply for source in sources):
        return None
    # This imports fsspec, which only buckets need.
    from vector_pipeline.sources.queue import EventQueue
    from vector_pipeline.stages.bucket_events import Received, with_events

    buckets = with_events(sources)
    return Received(EventQueue(url), buckets, ()) if buckets else None


@dataclass(slots=True)
class _Watch:
    ingesting: Ingesting
    locations: Sequence[str]
    others: Sequence[str]
    """The locations without those whose events are read."""
    changes: _Changes
    times: WatchTimes
    every: float
    """The time between two scans of the others."""
    done: Callable[[IngestReport], None]
    say: Callable[[str], None]

    def run(self) -> NoReturn:
        scanned = listed = time.monotonic()
        failed = False
        while True:
            changed, events = self.changes.wait(self._waiting_time(scanned, failed))
            # A scan of everything also finds what could not be done before.
            whole = failed or not (changed or events) or time.monotonic() - scanned >= self.every
            locations = self.others
            if failed or time.monotonic() - listed >= self.times.listing:
                locations, listed = self.locations, time.monotonic()
            try:
                self.done(self.ingesting.ingest(locations, changed=None if whole else changed, events=events))
                failed = False
            except ConfigurationError:
                raise
            except PipelineError as error:
                self.say(f"{error}; tried again in {self.every:,.0f} s, or at the next change")
                failed = True
            finally:
                self.changes.handled.set()
            if whole:
                scanned = time.monotonic()

    def _waiting_time(self, scanned: float, failed: bool) -> float:
        if failed:
            return self.every
        if self.ingesting.index_is_due:
            return self.times.settle
        return max(0.0, scanned + self.every - time.monotonic())


class _Changes:
    """What has changed since the last call of `wait`."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._events: Received | None = None
        self.began = threading.Event()
        self.ended = threading.Event()
        self.handled = threading.Event()
        """Set when the events of the last `wait` were handled: only then others are received."""
        self.are_seen = True

    def note(self, paths: Iterable[str]) -> None:
        """Add changed paths."""
        with self._lock:
            self._paths.update(paths)
        self._changed.set()

    def wait(self, seconds: float) -> tuple[Collection[str], Received | None]:
        """The paths and objects that changed: at a change (at once if there already was one), or none after a time."""
        self._changed.wait(seconds)
        # Before the scan, so that a change during the scan causes another one.
        self._changed.clear()
        with self._lock:
            paths, self._paths = self._paths, set()
            events, self._events = self._events, None
        return paths, events

    def receive(self, events: Received, say: Callable[[str], None], times: WatchTimes) -> None:
        """Add the messages of a queue as they come, in a thread of their own, until the watch ends."""
        # It is not waited for at the end: a request that waits for messages loses none.
        threading.Thread(target=self._receive, args=(events, say, times), name="reading events", daemon=True).start()

    def _receive(self, events: Received, say: Callable[[str], None], times: WatchTimes) -> None:
        problem = ""
        while not self.ended.is_set():
            try:
                messages = events.queue.receive(EVENTS_AT_ONCE, wait_seconds=times.events)
                problem = ""
            except SourceError as error:
                if str(error) != problem:
                    say(f"{error}; tried again every {times.rescan:,.0f} s")
                    problem = str(error)
                self.ended.wait(times.rescan)
                continue
            if messages:
                self.handled.clear()
                with self._lock:
                    self._events = replace(events, messages=messages, say=say)
                self._changed.set()
                self.handled.wait()


@contextmanager
def _watched(folders: Sequence[str], say: Callable[[str], None], times: WatchTimes) -> Iterator[_Changes]:
    """Watch folders in a thread while the block lasts; watching begins before the block."""
    changes = _Changes()
    thread = threading.Thread(target=_look, args=(folders, changes, say, times), name="watching folders", daemon=True)
    if folders:
        thread.start()
        changes.began.wait()
    try:
        yield changes
    finally:
        changes.ended.set()
        if folders:
            thread.join()


def _look(folders: Sequence[str], changes: _Changes, say: Callable[[str], None], times: WatchTimes) -> None:
    try:
        for found in watch_folders(
            *folders,
            debounce=DEBOUNCE_MS,
            rust_timeout=TIMEOUT_MS,
            yield_on_timeout=True,
            stop_event=changes.ended,
            raise_interrupt=False,
            watch_filter=lambda _, path: _concerns(folders, path),
            ignore_permission_denied=True,
        ):
            if found:
                changes.note(path for _, path in found)
            changes.began.set()
    except OSError as error:
        # For example if the system's limit of watches is lower than the number of folders.
        changes.are_seen = False
        say(f"{', '.join(folders)} cannot be watched ({error}); scanned every {times.poll:,.0f} s instead")
    finally:
        changes.began.set()


def _concerns(folders: Sequence[str], path: str) -> bool:
    """Whether a change of a path may change a source: hidden files do not belong to it, but say what to leave out."""
    folder = next((folder for folder in folders if path.startswith(folder.rstrip("/") + "/")), None)
    if folder is None:
        return True
    *folders_inside, name = PurePosixPath(path[len(folder) :].lstrip("/")).parts or ("",)
    return not any(inside.startswith(".") for inside in folders_inside) and (name == IGNORE_FILE or name[:1] != ".")
