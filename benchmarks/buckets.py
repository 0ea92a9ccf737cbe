"""List a bucket by one chain of requests, and in parallel: time, requests and memory.

    python -m benchmarks.buckets [KEYS] [SECONDS] [PAGE]

The store runs in a process of its own. It answers each request after SECONDS (0.05) with up to PAGE keys (1,000, as S3
does; with fewer the time of the requests counts more than that of the processor). Both listings go through s3fs and
botocore, as a scan does. docs/benchmarks/automation.md has the figures.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.remote import RemoteSource
from vector_pipeline.sources.s3 import Bucket
from vector_pipeline.sources.s3_listing import WORKERS, Page, list_bucket


class Counted:
    """A bucket that counts the requests, by the number of keys asked for."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.requests: Counter[int] = Counter()

    def page(self, *, after: str = "", token: str | None = None, at_most: int = 1_000) -> Page:
        """Like that of the bucket."""
        self.requests[at_most] += 1
        return self._bucket.page(after=after, token=token, at_most=at_most)


@contextmanager
def store(keys: int, seconds: float, page: int) -> Iterator[str]:
    """A store in another process; yields its URL."""
    command = [sys.executable, "-m", "vector_pipeline_tests.support.listing_server", *map(str, (keys, seconds, page))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def measured(bucket: Bucket, workers: int) -> dict[str, Any]:
    """The figures of one listing."""
    counted = Counted(bucket)
    began, processor = time.monotonic(), time.process_time()
    files = sum(1 for _ in list_bucket(counted, bucket.stem, workers=workers))
    return {
        "chains": workers,
        "files": files,
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(time.process_time() - processor, 1),
        "pages": counted.requests[1_000],
        "single_keys": counted.requests[1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main(keys: int = 100_000, seconds: float = 0.05, page: int = 1_000) -> None:
    with store(keys, seconds, page) as url:
        os.environ |= {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_DEFAULT_REGION": "us-east-1"}
        os.environ["AWS_ENDPOINT_URL"] = url
        source = open_source("s3://texts")
        assert isinstance(source, RemoteSource)
        bucket = Bucket.of(source.filesystem, source.prefix)
        bucket.page(at_most=1)  # connects
        found = [measured(bucket, workers) for workers in (1, WORKERS)]
    for line in found:
        print(line)
    one, many = (line["seconds"] for line in found)
    print(f"in parallel {one / many:.1f} times as fast")


if __name__ == "__main__":
    main(*(kind(value) for kind, value in zip((int, float, int), sys.argv[1:], strict=False)))
