"""Scan only the files that are named, for example by a watcher of the folders that hold them.

What takes a walk of a whole source is left to `scan`: deletions, folders, links, and rules of what to leave out.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import PurePosixPath

from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.base import ListedFile, Source
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.sources.selection import IGNORE_FILE
from vector_pipeline.stages.roots import known_as
from vector_pipeline.stages.scan import ScanResult, ScanRun
from vector_pipeline.store import manifest
from vector_pipeline.store.again import again
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.locks import lock_scan
from vector_pipeline.store.manifest import KnownFile

# To walk a source costs little more than to look at this many files.
MOST_PATHS = 1_000

# On other systems two spellings may name one file, and only a listing shows how its name is written.
ONE_SPELLING = sys.platform == "linux"

Pairs = list[tuple[ListedFile, KnownFile | None]]


def scan_changed(
    database: Database, sources: Sequence[Source], options: ScanOptions, paths: Collection[str]
) -> list[ScanResult] | None:
    """Bring the manifest in step with some files of some sources, by their absolute paths.

    Returns the results of the sources that hold them. Returns None if only a scan of the whole sources shows what has
    changed. The caller scans them from time to time in any case, because a hint may be lost.
    Raises SourceError if the rules of what to leave out cannot be read.
    """
    by_source = _by_source(sources, paths)
    if by_source is None or len(paths) > MOST_PATHS:
        return None
    results = []
    for source, inside in by_source:
        result = again(database.retry_seconds, partial(_scan, database, source, options, inside))
        if result is None:
            return None
        results.append(result)
    return results


def _by_source(sources: Sequence[Source], paths: Collection[str]) -> list[tuple[LocalSource, list[str]]] | None:
    """The paths below each source that has some; None if one of them may concern other files too."""
    found: dict[LocalSource, list[str]] = {}
    for path in sorted(paths):
        source = next((s for s in sources if isinstance(s, LocalSource) and path.startswith(_slashed(s.folder))), None)
        if source is None:
            return None
        inside = path[len(_slashed(source.folder)) :]
        names = PurePosixPath(inside).parts
        if names[-1:] == (IGNORE_FILE,):
            return None
        if not any(name.startswith(".") for name in names):
            found.setdefault(source, []).append(inside)
    return list(found.items())


def _slashed(folder: str) -> str:
    return folder.rstrip("/") + "/"


def _scan(database: Database, source: LocalSource, options: ScanOptions, paths: Sequence[str]) -> ScanResult | None:
    with database.connect(role="scan") as writer:
        named = _named(writer, source)
        lock_scan(writer, named.root)
        run = ScanRun(named, options, ScanResult(named.root), writer)
        pairs = _look_at(named, run, manifest.find_files(writer, named.root, paths), paths)
        if pairs is None:
            return None
        for listed, known in pairs:
            run.present(listed, known)
        run.finish_portion()
        return run.result


def _named(connection: Connection, source: LocalSource) -> LocalSource:
    named = known_as(connection, source)
    assert isinstance(named, LocalSource)
    return named


def _look_at(source: LocalSource, run: ScanRun, known_files: dict[str, KnownFile], paths: Sequence[str]) -> Pairs | None:
    """Pairs of what the source and the manifest have, in path order; None if that takes a walk."""
    pairs: Pairs = []
    for path in paths:
        known = known_files.get(path)
        is_present = known is not None and known.status != "deleted" and not known.gone
        try:
            listed = source.look_at(path)
        except FileNotFoundError:
            if is_present:
                return None
            continue  # such as the temporary file of an editor
        except OSError:
            return None
        if run.wants(path):
            if known is None and not ONE_SPELLING:
                return None
            pairs.append((listed, known))
        elif is_present:
            return None
    return pairs
