"""Which root a source is, where a root is reached, and which roots are gone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vector_pipeline.errors import ConfigurationError, SourceError
from vector_pipeline.sources.base import Source
from vector_pipeline.sources.local import LocalSource
from vector_pipeline.sources.opening import open_source
from vector_pipeline.store import manifest, roots
from vector_pipeline.store.connection import Connection


def known_as(connection: Connection, source: Source) -> Source:
    """A source under the name that its root has in the table, if it has one.

    A folder is called after the path that the user gave. Where it was ingested under another name (version 0.1.0
    followed the links of the path), it keeps that name, also once the links lead elsewhere.
    """
    if not isinstance(source, LocalSource):
        return source
    name = roots.find_root(connection, source.folder) or source.root
    return replace(source, root=name, at=source.folder)


def open_root(connection: Connection, root: str) -> Source:
    """The source of a root, reached as it was last. Raises ConfigurationError, or SourceError if it is gone."""
    location = roots.location_of(connection, root)
    if _is_gone(root, location):
        raise SourceError(gone_line(root))
    source = open_source(location)
    return replace(source, root=root, at=source.folder) if isinstance(source, LocalSource) else source


def gone(connection: Connection) -> list[str]:
    """The roots whose folder is not on this machine any more, or not mounted."""
    return [root for root in manifest.known_roots(connection) if _is_gone(root, roots.location_of(connection, root))]


def _is_gone(root: str, location: str) -> bool:
    return "://" not in root and not Path(location).is_dir()


def gone_line(root: str) -> str:
    """What to say of a root that is gone."""
    return (
        f"source '{root}' is not on this machine any more, and what was loaded from it is still found: mount it, or "
        f"take it out of the table with `vector-pipeline ingest --forget-root {_quoted(root)}`"
    )


def refuse_nested(connection: Connection, source: Source) -> None:
    """Raise ConfigurationError where a root contains another that was ingested earlier, lies in it, or is the same."""
    here = _places(source.root, source.folder if isinstance(source, LocalSource) else source.root)
    for other in manifest.known_roots(connection):
        if other == source.root:
            continue
        there = _places(other, roots.location_of(connection, other))
        if any(_contain(one, another) for one in here for another in there):
            raise ConfigurationError(
                f"source '{source.root}' and '{other}', which was ingested earlier, contain one another: the files of "
                f"both would be loaded twice; forget one with `vector-pipeline ingest --forget-root {_quoted(other)}`"
            )


def _quoted(path: str) -> str:
    """A path as a shell takes it, in quotes also where it could do without."""
    return "'" + path.replace("'", "'\\''") + "'"


def _places(root: str, location: str) -> Sequence[str]:
    """The path of a root, and where it leads to by now."""
    return (root,) if "://" in root else (location, os.path.realpath(location))


def _contain(one: str, another: str) -> bool:
    inner, outer = sorted((one.rstrip("/") + "/", another.rstrip("/") + "/"), key=len, reverse=True)
    return inner.startswith(outer)
