"""List a bucket by `find` of fsspec, by one chain of requests, and in parallel: time, requests and memory.

    python -m benchmarks.buckets [URL] [KEYS] [SECONDS] [PAGE] [ROUNDS]

URL is s3://texts, gs://texts or az://texts. The store runs in a process of its own. It answers each request after
SECONDS (0.05) with up to PAGE keys (1,000; with fewer the time of the requests counts more than that of the processor).
The listings take turns, each in a new process, and go through s3fs, gcsfs or adlfs, as a scan does. Figures are medians
of the ROUNDS (1). docs/benchmarks/automation.md has them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import orjson

from vector_pipeline.sources.bucket_listing import WORKERS, Page, Store, list_bucket
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.remote import RemoteSource

WAYS = ("find", "1", str(WORKERS))
"""As version 0.1 listed, or the number of chains."""


class Counted:
    """A store that counts the requests for pages, and for single keys."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.name, self.stem = store.name, store.stem
        self.requests: Counter[bool] = Counter()

    def page(self, *, after: str = "", token: str | None = None, at_most: int | None = None) -> Page:
        """Like that of the store."""
        self.requests[at_most is None] += 1
        return self._store.page(after=after, token=token, at_most=at_most)


@contextmanager
def server(url: str, keys: int, seconds: float, page: int) -> Iterator[dict[str, str]]:
    """A store in another process; yields the variables by which clients find it."""
    arguments = [url.partition("://")[0], *map(str, (keys, seconds, page))]
    command = [sys.executable, "-m", "vector_pipeline_tests.support.made_stores", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield orjson.loads(process.stdout.readline())
        finally:
            process.kill()


def listed(url: str, way: str) -> dict[str, Any]:
    """The figures of one listing by this process."""
    source = open_source(url)
    assert isinstance(source, RemoteSource)
    store = source.store()
    assert store is not None
    store.page(at_most=1)  # connects
    counted = Counted(store)
    before, began, processor = _memory(), time.monotonic(), time.process_time()
    if way == "find":
        found = source.filesystem.find(source.prefix, detail=True)
        files = sum(1 for _ in sorted(found))
    else:
        files = sum(1 for _ in list_bucket(counted, workers=int(way)))
    return {
        "files": files,
        "seconds": time.monotonic() - began,
        "processor": time.process_time() - processor,
        "pages": counted.requests[True],
        "single keys": counted.requests[False],
        "memory, MB": _memory(),
        "of that listing, MB": _memory() - before,
    }


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(
    url: str = "s3://texts", keys: int = 100_000, seconds: float = 0.05, page: int = 1_000, rounds: int = 1
) -> None:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with server(url, keys, seconds, page) as variables:
        for _ in range(rounds):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.buckets", "--list", url, way]
                done = subprocess.run(command, env=os.environ | variables, stdout=subprocess.PIPE, check=True)
                found[way].append(orjson.loads(done.stdout.splitlines()[-1]))
    for way, figures in found.items():
        print(way, {name: round(median(each[name] for each in figures), 1) for name in figures[0]})
    plain = median(each["seconds"] for each in found["find"])
    many = median(each["seconds"] for each in found[str(WORKERS)])
    print(f"in parallel {plain / many:.1f} times as fast as find")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--list"]:
        print(orjson.dumps(listed(*sys.argv[2:])).decode())
    else:
        main(*(kind(value) for kind, value in zip((str, int, float, int, int), sys.argv[1:], strict=False)))
