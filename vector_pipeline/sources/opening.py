"""Which kind of source a location names: a folder of this machine, or a URL."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vector_pipeline.errors import ConfigurationError, PipelineError, SourceError, one_line
from vector_pipeline.redaction import shown
from vector_pipeline.sources.base import Source
from vector_pipeline.sources.local import LocalSource


def open_source(location: str) -> Source:
    """The source that a path or URL names.

    Raises ConfigurationError if it does not exist, is not a folder, or has a protocol whose package is not installed;
    SourceError if it cannot be reached.
    """
    if not location.removeprefix("file://").strip():
        # As a path it would be the current folder. Usually a variable of the shell is not set.
        raise ConfigurationError("a source is empty; give a folder or a URL such as s3://bucket/folder")
    try:
        return _opened(location)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"source '{shown(location[:200])}' cannot be opened ({one_line(error)[:200]}); give a folder or a URL such "
            "as s3://bucket/folder"
        ) from error


def _opened(location: str) -> Source:
    if "://" in location and not location.startswith("file://"):
        # This imports fsspec, which only URLs need.
        from vector_pipeline.sources.remote import RemoteSource

        return RemoteSource.at(location)
    path = Path(location.removeprefix("file://")).expanduser()
    if not path.exists():
        raise ConfigurationError(
            f"source '{location}' does not exist; give a folder or a URL such as s3://bucket/folder"
        )
    if not path.is_dir():
        raise ConfigurationError(f"source '{location}' is a file; give the folder that holds it")
    if not os.access(path, os.R_OK | os.X_OK):
        raise SourceError(f"source '{location}' cannot be entered; give this user the right to read it")
    return LocalSource(_spelled(path))


def open_sources(locations: Sequence[str]) -> tuple[list[Source], list[str]]:
    """The sources that can be opened, and a line about each of the others.

    Raises ConfigurationError or SourceError if none can be opened.
    """
    opened: list[Source] = []
    errors: list[PipelineError] = []
    for location in locations:
        try:
            opened.append(open_source(location))
        except PipelineError as error:
            errors.append(error)
    if errors and not opened:
        raise errors[0]
    return opened, [str(error) for error in errors]


def _spelled(path: Path) -> str:
    """A folder's path as the user gave it, but absolute and without `..`: a link may lead elsewhere tomorrow."""
    spelled = os.path.normpath(path.absolute())
    # Behind a link, `..` is another folder than the one in front of it.
    return spelled if os.path.realpath(spelled) == os.path.realpath(path) else str(path.resolve())
