"""`ingest --watch`: one process that keeps running and brings the table in step whenever a source changes.

Folders of this machine are watched by the operating system. Buckets, and folders that cannot be watched, are scanned
every so often. Each change is one `ingest`: a scan, and runs through Dagster on the instance that stays open.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from watchfiles import watch as watch_folders

from vector_pipeline.errors import ConfigurationError, PipelineError
from vector_pipeline.local.ingest import ingest
from vector_pipeline.local.instance import open_instance_in_process
from vector_pipeline.local.report import IngestReport
from vector_pipeline.pipeline.pipeline import Pipeline
from vector_pipeline.sources.opening import open_source

# A watched folder is also scanned at this interval: an event may be lost, and failed arrivals are tried again.
RESCAN_SECONDS = 60.0
# A source that cannot be watched is scanned at this interval.
POLL_SECONDS = 5.0

# Changes within this time count as one, for example if an editor writes a file and renames it.
DEBOUNCE_MS = 200
# The time after which the watching thread notices that it should end, and reports that it has begun.
TIMEOUT_MS = 500


def watch(
    pipeline: Pipeline,
    locations: Sequence[str],
    *,
    done: Callable[[IngestReport], None],
    say: Callable[[str], None] = lambda _: None,
    confirm_deletions: bool = False,
    poll_seconds: float = POLL_SECONDS,
) -> NoReturn:
    """Keep the table in step with some sources until an interruption; `done` receives the report of each `ingest`.

    `say` receives what happens beside them. Raises what the first `ingest` raises, and ConfigurationError later. After
    another PipelineError, such as of a Postgres that does not answer, it says so and tries again.
    """
    folders = [source.root for source in map(open_source, locations) if source.reads_cheaply]
    every = RESCAN_SECONDS if len(folders) == len(locations) else poll_seconds
    with open_instance_in_process(pipeline.settings) as instance, _watched(folders, say) as changes:
        if folders and not changes.are_seen:
            every = poll_seconds
        done(ingest(pipeline, locations, instance=instance, confirm_deletions=confirm_deletions))
        say(f"watching {', '.join(locations)}; Ctrl-C ends it")
        while True:
            changes.wait(every)
            try:
                done(ingest(pipeline, locations, instance=instance))
            except ConfigurationError:
                raise
            except PipelineError as error:
                say(f"{error}; tried again in {every:,.0f} s")
                time.sleep(every)


class _Changes:
    """Whether something has changed since the last call of `wait`."""

    def __init__(self) -> None:
        self._changed = threading.Event()
        self.began = threading.Event()
        self.ended = threading.Event()
        self.are_seen = True

    def note(self) -> None:
        self._changed.set()

    def wait(self, seconds: float) -> None:
        """Return at a change (at once if there already was one), or after this many seconds."""
        self._changed.wait(seconds)
        # Before the scan, so that a change during the scan causes another one.
        self._changed.clear()


@contextmanager
def _watched(folders: Sequence[str], say: Callable[[str], None]) -> Iterator[_Changes]:
    """Watch folders in a thread while the block lasts; watching begins before the block."""
    changes = _Changes()
    thread = threading.Thread(target=_look, args=(folders, changes, say), name="watching folders", daemon=True)
    if folders:
        thread.start()
        changes.began.wait()
    try:
        yield changes
    finally:
        changes.ended.set()
        if folders:
            thread.join()


def _look(folders: Sequence[str], changes: _Changes, say: Callable[[str], None]) -> None:
    try:
        for found in watch_folders(
            *folders,
            debounce=DEBOUNCE_MS,
            rust_timeout=TIMEOUT_MS,
            yield_on_timeout=True,
            stop_event=changes.ended,
            raise_interrupt=False,
            watch_filter=None,
            ignore_permission_denied=True,
        ):
            if found:
                changes.note()
            changes.began.set()
    except OSError as error:
        # For example if the system's limit of watches is lower than the number of folders.
        changes.are_seen = False
        say(f"{', '.join(folders)} cannot be watched ({error}); scanned every {POLL_SECONDS:,.0f} s instead")
    finally:
        changes.began.set()
