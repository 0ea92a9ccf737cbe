"""The scan: compare the listing of a root with the manifest and assign the differences to new arrivals.

The asset, the sensor, the schedule and the command line all call `scan`. The listing and the manifest are walked
side by side in path order, and where they are alike, by blocks (`blocks.py`). So memory is bounded by the changes of one
arrival, not by the number of files.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from vector_pipeline.errors import counted
from vector_pipeline.formats.kinds import INSTALL, kind_of, not_installed, suffix_of
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.base import ListedFile, PassedOver, Source, printable
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.sources.selection import IGNORE_FILE, Selection, UnreadableRules
from vector_pipeline.stages.blocks import Alike, compared
from vector_pipeline.stages.roots import known_as, refuse_nested
from vector_pipeline.stages.side_by_side import Entry, Pair, has_same_bytes, lies_in
from vector_pipeline.store import manifest, scans
from vector_pipeline.store.again import again
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.locks import lock_scan
from vector_pipeline.store.manifest import RACY, FileChange, KnownFile
from vector_pipeline.store.roots import note_location

# A change within this time before the listing may be followed by another with the same times.
RACY_SECONDS = 2.0

# A source of at most this many files may lose all of them at once without confirmation.
FEW_FILES = 10

KINDS_SHOWN = 5

# The number of names, and of kinds that are not read, that are kept of what a scan left out. All are counted.
KEPT = 1_000

STILL_WRITTEN = "changed a moment ago and may still be written; the next scan looks again"


@dataclass(slots=True)
class ScanResult:
    """The result of a scan, in numbers of files, and its time in seconds.

    `arrivals` holds the keys of the new arrivals, oldest first.
    `touched` files have another fingerprint but the same bytes. `waiting` files are still being written. `withheld`
    deletions wait for confirmation because they are too many. `unfinished` means that the next scan does the rest of the
    listing and all deletions; `slow` means that this is for lack of time.
    """

    root: str
    new: int = 0
    changed: int = 0
    deleted: int = 0
    touched: int = 0
    unchanged: int = 0
    waiting: int = 0
    withheld: int = 0
    left_out: int = 0
    unfinished: bool = False
    slow: bool = False
    seconds: float = 0.0
    arrivals: list[str] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    other_kinds: Counter[str] = field(default_factory=Counter)
    """Files without a reader, by suffix. They are not counted elsewhere."""
    waiting_paths: list[str] = field(default_factory=list)
    """The first files that are still being written."""
    quiet_in: float = 0.0
    """The time in seconds after which these files are quiet, if they do not change again."""
    without_reader: list[str] = field(default_factory=list)
    """The first files whose reader is not installed. They are counted in `other_kinds`."""

    def __str__(self) -> str:
        """One line for a log: '3 new, 1 changed, 1 deleted, 12 unchanged → arrival 2026…'."""
        parts = [
            f"{count:,} {name}"
            for name in ("new", "changed", "deleted", "touched", "waiting", "unchanged")
            if (count := getattr(self, name))
        ]
        found = ", ".join(parts) or "no files"
        if self.left_out:
            found += f", {self.left_out:,} left out by INCLUDE, EXCLUDE or {IGNORE_FILE}"
        if self.passed_over:
            found += f", {len(self.passed_over):,} passed over"
        if self.other_kinds:
            found += f", {kinds_not_read(self.other_kinds)}"
        if self.slow:
            found += ", and listing the rest takes too long"
        if not self.arrivals:
            return found
        more = f" and {len(self.arrivals) - 1:,} more" if len(self.arrivals) > 1 else ""
        rest = "; the rest of the source with the next scan" if self.unfinished and not self.slow else ""
        return f"{found} → arrival {self.arrivals[0]}{more}{rest}"

    def add_waited(self, found: ScanResult) -> None:
        """Add what a later look at waiting files found."""
        for name in ("new", "changed", "touched", "unchanged"):
            setattr(self, name, getattr(self, name) + getattr(found, name))
        self.arrivals += found.arrivals
        self.waiting, self.waiting_paths = found.waiting, found.waiting_paths

    @property
    def warning(self) -> str | None:
        """What a person has to decide, in one line; None if there is nothing."""
        return missing_files(self.withheld, self.root) if self.withheld else None


def kinds_not_read(kinds: Mapping[str, int]) -> str:
    """'4 of kinds that are not read (3 .pdf, 1 .png)', and how to install their readers if that is possible."""
    counts = Counter(kinds)
    most = sorted(counts.items(), key=lambda found: (-found[1], found[0]))[:KINDS_SHOWN]
    shown = ", ".join(f"{count:,} {kind}" for kind, count in most)
    found = f"{counts.total():,} of kinds that are not read ({shown}{', …' if len(counts) > KINDS_SHOWN else ''})"
    missing = not_installed()
    readable = sum(n for suffix, n in counts.items() if (kind := kind_of(f"x{suffix}")) and kind.name in missing)
    return f"{found}; `{INSTALL}` reads {readable:,} of them" if readable else found


def missing_files(withheld: int, root: str) -> str:
    """The message about deletions that wait for confirmation."""
    return (
        f"{counted(withheld, 'file is', 'files are')} missing from '{root}', too many to be taken for deleted unasked: "
        f"if that is meant, run `vector-pipeline ingest {shlex.quote(root)} --confirm-deletions`; else look whether the "
        "source is mounted and complete"
    )


def scan(
    database: Database,
    source: Source,
    options: ScanOptions,
    *,
    progress: Callable[[int], None] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> ScanResult:
    """Bring the manifest in step with a source; returns the result.

    `progress` is called from time to time with the number of files seen. Two scans of one root follow one another;
    `log` receives a line if this one has to wait.
    If a listing is far shorter than the manifest, new and changed files are registered and deletions are withheld.
    Raises SourceError if the listing fails (then nothing counts as deleted), and ConfigurationError if the root contains
    an earlier root or lies in one.
    """
    with database.connect(role="scan") as writer, database.connect(role="scan listing") as reader:
        source = known_as(writer, source)
        # Session locks end with the connection, so a killed scan blocks no other.
        lock_scan(writer, source.root, log=log)
        refuse_nested(writer, source)
        if isinstance(source, LocalSource):
            note_location(writer, source.root, source.folder)
        before = scans.files_ahead(writer, source.root)
        run = ScanRun(source, options, ScanResult(source.root), writer, ahead_before=before)
        with compared(reader, source.root, run.in_time(source.walk(run.wants))) as steps:
            run.compare(steps, progress)
        run.finish()
        run.result.seconds = time.monotonic() - run.began
        return run.result


def scan_patiently(
    database: Database,
    source: Source,
    options: ScanOptions,
    *,
    progress: Callable[[int], None] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> ScanResult:
    """Like `scan`. If Postgres was away, the scan begins again; what it had registered is then already known."""
    return again(database.retry_seconds, lambda: scan(database, source, options, progress=progress, log=log), log=log)


@dataclass(slots=True)
class ScanRun:
    """One scan: it takes pairs of a listed and a known file, and registers what differs as arrivals."""

    source: Source
    options: ScanOptions
    result: ScanResult
    writer: Connection
    gathered: list[FileChange] = field(default_factory=list)
    gathered_bytes: int = 0
    gone: list[str] = field(default_factory=list)
    touched: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    ahead: scans.Ahead = field(default_factory=dict)
    ahead_before: scans.Ahead = field(default_factory=dict)
    looked_at: int = 0
    known: int = 0
    not_installed: frozenset[str] = field(default_factory=not_installed)
    selection: Selection = field(init=False)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.selection = Selection(self.source, self.options.choice)

    def wants(self, path: str) -> bool:
        """Whether to read a file. Other files are counted.

        If it is unknown what a folder leaves out, the folder is passed over, and the others are scanned.
        """
        try:
            verdict = self.selection.verdict(path)
        except UnreadableRules as error:
            self._pass_over(error)
            return False
        if verdict == "wanted":
            return True
        if verdict == "left out":
            self.result.left_out += 1
            return False
        self.result.other_kinds[printable(PurePosixPath(path).suffix.lower()) or "without suffix"] += 1
        return False

    def _pass_over(self, error: UnreadableRules) -> None:
        if not error.folder:
            raise error
        if error.folder not in self.hidden:
            self.hidden.add(error.folder)
            self.result.passed_over.append(PassedOver(printable(error.folder), printable(str(error)), hides_files=True))

    def in_time(self, listing: Iterator[Entry]) -> Iterator[Entry]:
        """A listing that ends when the time of the scan is over."""
        if self.options.max_seconds is None:
            yield from listing
            return
        end = self.began + self.options.max_seconds
        for entry in listing:
            if time.monotonic() > end:
                self.result.slow = True
                return
            yield entry

    def compare(self, steps: Iterator[Alike | Pair], progress: Callable[[int], None] | None) -> None:
        """Take a listing and the manifest, to the end or for a portion. A file that only the manifest has is gone."""
        portion, shown = self.options.max_arrivals, 0
        for step in steps:
            if self.result.slow or (portion and len(self.result.arrivals) >= portion):
                break
            if isinstance(step, Alike):
                self.known += step.files
                self.result.unchanged += step.files
                self.looked_at += step.files
            else:
                self._take(*step)
            while progress and self.looked_at >= shown + 1_000:
                shown += 1_000
                progress(shown)
        else:
            self.result.unfinished = self.result.slow
            return
        self.result.unfinished = True

    def _take(self, listed: Entry | None, known: KnownFile | None) -> None:
        if isinstance(listed, PassedOver):
            self.result.passed_over.append(listed)
            if listed.hides_files:
                self.hidden.add(listed.path)
        elif listed is not None:
            self.present(listed, known)
            self.looked_at += 1
        elif known is not None:
            self._missing(known)

    def _missing(self, known: KnownFile) -> None:
        if known.status == "deleted" or known.gone:
            return
        self.known += 1
        self.gone.append(known.path)

    def present(self, listed: ListedFile, known: KnownFile | None) -> None:
        """Take a file that the source has."""
        if self.not_installed and (kind := kind_of(listed.path)) is not None and kind.name in self.not_installed:
            self._without_reader(listed, known)
            return
        is_back = known is not None and (known.status == "deleted" or known.gone)
        if known and not is_back:
            self.known += 1
            if known.fingerprint == listed.fingerprint:
                self.result.unchanged += 1
                return
        now = time.time()
        # A clock that is behind the store's makes files look written in the future: racy too.
        racy = not listed.by_content and now - listed.modified < RACY_SECONDS
        fingerprint = listed.fingerprint + (RACY if racy else "")
        if known and not is_back and known.fingerprint == fingerprint and not self.source.reads_cheaply:
            # If reading is expensive, a file that is still racy has to wait until it is not.
            self.result.unchanged += 1
            return
        quiet_in = self._quiet_in(listed, now)
        if quiet_in > 0:
            self.result.waiting += 1
            self.result.quiet_in = max(self.result.quiet_in, quiet_in)
            if len(self.result.waiting_paths) < KEPT:
                self.result.waiting_paths.append(listed.path)
            return
        if known is None or is_back:
            self.result.new += 1
        elif self._is_same(listed, known, fingerprint):
            return
        else:
            self.result.changed += 1
        self._gather(FileChange(listed.path, listed.size, fingerprint))

    def _quiet_in(self, listed: ListedFile, now: float) -> float:
        """The seconds until a file has not changed for long enough and is probably written completely; 0.0 if it is."""
        quiet, age = self.options.quiet_seconds, now - listed.modified
        if not quiet or age >= quiet:
            return 0.0
        if age >= 0:
            return quiet - age
        # A time ahead of this clock says nothing of that, but whether the file looks as it did at an earlier scan does.
        fingerprint, since = self.ahead_before.get(listed.path, ("", now))
        since = min(since, now) if fingerprint == listed.fingerprint else now
        if len(self.ahead) < KEPT:
            self.ahead[listed.path] = (listed.fingerprint, since)
        return max(0.0, quiet - (now - since))

    def _without_reader(self, listed: ListedFile, known: KnownFile | None) -> None:
        """A file whose reader is not installed here: what was loaded of it elsewhere stays, and a new one waits."""
        if known is not None and known.status != "deleted" and not known.gone:
            self.known += 1
            self.result.unchanged += 1
            return
        self.result.other_kinds[suffix_of(listed.path)] += 1
        if len(self.result.without_reader) < KEPT:
            self.result.without_reader.append(listed.path)

    def _is_same(self, listed: ListedFile, known: KnownFile, fingerprint: str) -> bool:
        """Whether a file that is known under another fingerprint needs no work, and count it if so."""
        only_racy = known.fingerprint == listed.fingerprint + RACY
        if known.status == "pending":
            # Its arrival has yet to read it; refreshing the fingerprint now would take it from that run.
            self.result.unchanged += only_racy
            return only_racy
        if not has_same_bytes(self.source, listed, known):
            return False
        self.result.unchanged += only_racy
        self.result.touched += not only_racy
        if fingerprint != known.fingerprint:
            self.touched[listed.path] = fingerprint
        return True

    def _gather(self, change: FileChange) -> None:
        if self.gathered_bytes + change.size > self.options.max_bytes:
            self._register()
        self.gathered.append(change)
        self.gathered_bytes += change.size
        if len(self.gathered) >= self.options.max_files:
            self._register()

    def _register(self) -> None:
        if self.gathered:
            key = manifest.register_arrival(self.writer, self.source.root, self.options.trigger, self.gathered)
            self.result.arrivals.append(key)
            self.gathered, self.gathered_bytes = [], 0

    def remove(self, known: KnownFile) -> None:
        """Take a file that is known to be gone from the source."""
        self.result.deleted += 1
        self._gather(FileChange(known.path, 0, "", gone=True))

    def finish_portion(self) -> None:
        """Register what was taken, without the files that the manifest alone has."""
        manifest.refresh_fingerprints(self.writer, self.source.root, self.touched)
        self._register()

    def finish(self) -> None:
        """Register what was taken, and the deletions where the listing was walked to its end."""
        if self.result.unfinished:
            # Whether a listing is suspiciously short is only known at its end.
            self.finish_portion()
            return
        gone = [path for path in self.gone if not lies_in(path, self.hidden)]
        if self._suspicious(len(gone)):
            self.result.withheld = len(gone)
        else:
            self.result.deleted = len(gone)
            for path in gone:
                self._gather(FileChange(path, 0, "", gone=True))
        self.finish_portion()
        self._note()

    def _note(self) -> None:
        """Keep what was left out, for `status`."""
        found = self.result
        names = [(item.path, item.reason) for item in found.passed_over]
        names += [(path, STILL_WRITTEN) for path in found.waiting_paths]
        names += [(path, f"is read after `{INSTALL}`") for path in found.without_reader]
        scans.note_scan(
            self.writer,
            found.root,
            seconds=time.monotonic() - self.began,
            withheld=found.withheld,
            waiting=found.waiting,
            passed_over=len(found.passed_over),
            names=names[:KEPT],
            not_read=dict(found.other_kinds.most_common(KEPT)),
            ahead=self.ahead,
        )

    def _suspicious(self, gone: int) -> bool:
        if self.options.confirm_deletions or self.known <= FEW_FILES:
            return False
        return gone > self.options.max_deleted_share * self.known
