"""Scan only the objects that the events of a bucket name.

An event is a hint: what counts is the object as it is now. So messages that come twice, late or in another order do no
harm, and one that is lost delays a change until the next listing. A message is deleted after what it caused is
committed; it stays in the queue if an object that it names could not be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from vector_pipeline.errors import counted, one_line
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.base import ListedFile, PassedOver, Source, printable
from vector_pipeline.sources.events import Hint, Message, UnreadableMessage, hints_in
from vector_pipeline.sources.queue import EventQueue
from vector_pipeline.sources.remote import RemoteSource
from vector_pipeline.sources.selection import IGNORE_FILE
from vector_pipeline.stages.scan import ScanResult, ScanRun
from vector_pipeline.store import manifest
from vector_pipeline.store.again import again
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.locks import lock_scan

LOOKS = 10
"""Objects that are looked at at the same time: as many as botocore has connections by default."""

NAMED = 5
"""The number of names that a line shows."""


@dataclass(slots=True)
class EventsTaken:
    """What the messages of a queue caused."""

    messages: int = 0
    results: list[ScanResult] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    """What was passed over, by name and with the reason."""
    rules_changed: list[str] = field(default_factory=list)
    """Roots whose .vectorignore an event names: only a listing shows what it leaves out."""
    done: list[Message] = field(default_factory=list)
    """The messages that may be deleted. The others come again."""

    def __str__(self) -> str:
        """One line for a log: '12 events: 3 new, 1 deleted; passed over: …'."""
        line = counted(self.messages, "event")
        if self.results:
            line += ": " + "; ".join(map(str, self.results))
        if self.passed_over:
            shown = "; ".join(self.passed_over[:NAMED])
            more = f"; and {len(self.passed_over) - NAMED:,} more" if len(self.passed_over) > NAMED else ""
            line += f". Passed over: {shown}{more}"
        if (left := self.messages - len(self.done)) > 0:
            line += f". {counted(left, 'event stays', 'events stay')} in the queue"
        return line


@dataclass(frozen=True, slots=True)
class Received:
    """Messages of a queue, and the sources that they may concern."""

    queue: EventQueue
    sources: Sequence[RemoteSource]
    messages: Sequence[Message]
    say: Callable[[str], None] = lambda _: None
    """Receives a line if something was passed over, or a message stays in the queue."""


def with_events(sources: Iterable[Source]) -> list[RemoteSource]:
    """The sources whose changes the events of S3 may name."""
    return [source for source in sources if isinstance(source, RemoteSource) and source.is_s3]


def scan_events(
    database: Database, received: Received, options: ScanOptions, *, log: Callable[[str], None] = lambda _: None
) -> EventsTaken:
    """Bring the manifest in step with the objects that messages name, and delete the messages.

    `log` receives a line if another scan of a source is under way, for which this one waits.
    Raises SourceError if a source or its rules cannot be read, or if the queue refuses the deletion. Nothing is lost
    then: the messages come again.
    """
    taken = EventsTaken(messages=len(received.messages))
    named = _Named(received.sources, taken)
    for message in received.messages:
        named.add(message)
    unseen: set[tuple[str, str]] = set()
    for source in received.sources:
        if paths := sorted(named.paths[source.root]):
            found = again(database.retry_seconds, partial(_scan, database, source, options, paths, log))
            taken.results.append(found.result)
            taken.passed_over += found.passed_over
            unseen |= {(source.root, path) for path in found.unseen}
    taken.done = [message for message, objects in named.by_message if unseen.isdisjoint(objects)]
    received.queue.delete(taken.done)
    if taken.passed_over:
        received.say(str(taken))
    return taken


class _Named:
    """The objects that messages name, by source."""

    def __init__(self, sources: Sequence[RemoteSource], taken: EventsTaken) -> None:
        self._sources = sources
        self._taken = taken
        self.paths: dict[str, set[str]] = {source.root: set() for source in sources}
        self.by_message: list[tuple[Message, list[tuple[str, str]]]] = []

    def add(self, message: Message) -> None:
        """Add the objects of a message. What concerns no file of a source is passed over by name."""
        try:
            hints = hints_in(message.body)
        except UnreadableMessage as error:
            self._taken.passed_over.append(f"a message that {error}: '{printable(message.body[:80])}'")
            hints = []
        objects = [found for hint in hints if (found := self._object(hint)) is not None]
        for root, path in objects:
            self.paths[root].add(path)
        self.by_message.append((message, objects))

    def _object(self, hint: Hint) -> tuple[str, str] | None:
        """The root and path of an object that may be a file of a source."""
        full = f"{hint.bucket}/{hint.key}"
        source = next((source for source in self._sources if full.startswith(f"{source.prefix}/")), None)
        if source is None:
            self._taken.passed_over.append(f"'{printable(full[:200])}', which belongs to no source")
            return None
        path = full[len(source.prefix) + 1 :]
        if path == IGNORE_FILE and source.root not in self._taken.rules_changed:
            self._taken.rules_changed.append(source.root)
        if not path or path.endswith("/") or any(_is_hidden(part) for part in path.split("/")):
            return None  # folders and hidden files belong to no source
        return source.root, path


def _is_hidden(name: str) -> bool:
    # A name with . or .. between slashes is passed over by name.
    return name.startswith(".") and name not in (".", "..")


@dataclass(slots=True)
class _Found:
    """What a scan of some objects found. `unseen` are those that could not be looked at."""

    result: ScanResult
    passed_over: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


def _scan(
    database: Database, source: RemoteSource, options: ScanOptions, paths: Sequence[str], log: Callable[[str], None]
) -> _Found:
    # An object of S3 appears whole, so none is still being written.
    options = replace(options, quiet_seconds=0.0, max_arrivals=None, max_seconds=None)
    with database.connect(role="scan") as writer:
        lock_scan(writer, source.root, log=log)
        run = ScanRun(source, options, ScanResult(source.root), writer)
        found = _Found(run.result)
        wanted = [path for path in paths if run.wants(path)]
        _register(writer, source, run, wanted, found)
        return found


def _register(writer: Connection, source: RemoteSource, run: ScanRun, paths: Sequence[str], found: _Found) -> None:
    known_files = manifest.find_files(writer, source.root, paths)
    with ThreadPoolExecutor(LOOKS, "looking") as pool:
        seen = list(pool.map(partial(_look_at, source), paths))
    if any(item is None for item in seen):
        # Without its bucket each object looks deleted.
        source.check_bucket()
    for path, item in zip(paths, seen, strict=True):
        known = known_files.get(path)
        if isinstance(item, ListedFile):
            run.present(item, known)
        elif isinstance(item, PassedOver):
            found.passed_over.append(f"'{item.path}': {item.reason}")
        elif isinstance(item, OSError):
            found.unseen.append(path)
            found.passed_over.append(f"'{printable(path)}' cannot be looked at: {one_line(item)}")
        elif known is not None and known.status != "deleted" and not known.gone:
            run.remove(known)
    run.finish_portion()


def _look_at(source: RemoteSource, path: str) -> ListedFile | PassedOver | OSError | None:
    """The object as it is now; None if it does not exist."""
    try:
        return source.look_at(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
