"""Sources on servers of stores that listen on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest

from vector_pipeline.sources.base import ListedFile
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.remote import RemoteSource
from vector_pipeline_tests.support.counting_server import CountingServer, served


class Found(RemoteSource):
    """As version 0.1 listed it."""

    def store(self) -> None:
        return None


@contextmanager
def opened(server: CountingServer, monkeypatch: pytest.MonkeyPatch, url: str) -> Iterator[RemoteSource]:
    """The source at a URL, while the server runs."""
    kind = fsspec.get_filesystem_class(url.partition("://")[0])
    with served(server):
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        kind.clear_instance_cache()
        source = open_source(url)
        assert isinstance(source, RemoteSource)
        yield source
        kind.clear_instance_cache()


def files(source: RemoteSource) -> list[ListedFile]:
    """What a walk lists."""
    return [item for item in source.walk(lambda _: True) if isinstance(item, ListedFile)]
