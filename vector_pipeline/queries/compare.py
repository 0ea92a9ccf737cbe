"""Check whether the table agrees with a source: list the source and compare it with the manifest. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Literal

from vector_pipeline.sources.base import ListedFile, PassedOver, Source
from vector_pipeline.sources.selection import Choice, Selection
from vector_pipeline.stages.roots import known_as
from vector_pipeline.stages.side_by_side import has_same_bytes, lies_in, side_by_side
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline.store.inspections import WHOLE_EVERY_SECONDS, last_inspection, note_inspection
from vector_pipeline.store.manifest import RACY, KnownFile, source_key

# The number of differences that are kept to be shown. All are counted.
SHOWN = 200

# Up to this many files are listed within a second. More are compared once a day, since every scan compares them too.
COMPARED_EACH_TIME = 10_000

Kind = Literal["missing", "deleted", "changed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A file on which the source and the table do not agree.

    `missing`: it is not in the table. `deleted`: it was deleted in the source and is still in the table. `changed`: it
    changed in the source since it was read.
    """

    path: str
    kind: Kind


@dataclass(slots=True)
class Comparison:
    """The result of comparing a source with the table, in numbers of files.

    `pending` files wait for their arrival to load them. `waiting` files changed within the quiet seconds. Neither counts
    as a difference.
    """

    root: str
    same: int = 0
    pending: int = 0
    waiting: int = 0
    missing: int = 0
    deleted: int = 0
    changed: int = 0
    differences: list[Difference] = field(default_factory=list)
    """The first `SHOWN` differences, in path order."""
    passed_over: int = 0
    """The number of links, folders and names that the listing did not follow or could not enter."""

    @property
    def differs(self) -> int:
        """The number of differences."""
        return self.missing + self.deleted + self.changed

    def _add(self, path: str, kind: Kind) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.differences) < SHOWN:
            self.differences.append(Difference(path, kind))


def compare_when_due(
    database: Database,
    source: Source,
    *,
    quiet_seconds: float = 0.0,
    choice: Choice | None = None,
    every_seconds: float = WHOLE_EVERY_SECONDS,
) -> Comparison:
    """`compare`, or the result of the last one if the source is large, the result is recent and nothing differed.

    Raises SourceError where the listing fails.
    """
    name = f"comparison of {source_key(source.root, '')}"
    with database.connect(role="compare") as connection:
        last = last_inspection(connection, name)
        few = manifest.count_present(connection, source.root) <= COMPARED_EACH_TIME
        if last is not None and not few and 0 <= last.age_seconds < every_seconds and not last.found["differences"]:
            return Comparison(**{**last.found, "differences": []})
        found = compare(database, source, quiet_seconds=quiet_seconds, choice=choice)
        note_inspection(connection, name, asdict(found))
    return found


def compare(
    database: Database, source: Source, *, quiet_seconds: float = 0.0, choice: Choice | None = None
) -> Comparison:
    """List a source and compare it with the manifest. Memory does not grow with the number of files.

    Raises SourceError if the listing fails.
    """
    with database.connect(role="compare") as connection:
        source = known_as(connection, source)
    found = Comparison(source.root)
    with (
        database.connect(role="compare") as connection,
        closing(manifest.known_files(connection, source.root)) as known_files,
    ):
        for listed, known in _visible(source, known_files, found, choice or Choice()):
            _judge(source, found, listed, known, quiet_seconds)
    return found


def _visible(
    source: Source, known_files: Iterator[KnownFile], found: Comparison, choice: Choice
) -> Iterator[tuple[ListedFile | None, KnownFile | None]]:
    """Yield pairs of listed and known files, without those in folders that the listing could not enter."""
    hidden: set[str] = set()
    for listed, known in side_by_side(source.walk(Selection(source, choice).wants), known_files):
        if isinstance(listed, PassedOver):
            found.passed_over += 1
            if listed.hides_files:
                hidden.add(listed.path)
        elif listed is not None or known is None or not lies_in(known.path, hidden):
            yield listed, known


def _judge(
    source: Source, found: Comparison, listed: ListedFile | None, known: KnownFile | None, quiet_seconds: float
) -> None:
    if known is not None and known.status == "pending":
        found.pending += 1
    elif listed is None:
        if known is not None and known.status != "deleted":
            found._add(known.path, "deleted")
    elif known is not None and known.status != "deleted" and _is_same(source, listed, known):
        found.same += 1
    elif time.time() - listed.modified < quiet_seconds:
        found.waiting += 1
    else:
        found._add(listed.path, "missing" if known is None or known.status == "deleted" else "changed")


def _is_same(source: Source, listed: ListedFile, known: KnownFile) -> bool:
    if listed.fingerprint == known.fingerprint:
        return True
    if has_same_bytes(source, listed, known):
        return True
    # If reading is expensive, a fingerprint counts as equal even if it was taken too soon after a change to be certain.
    return not source.reads_cheaply and known.fingerprint == listed.fingerprint + RACY
