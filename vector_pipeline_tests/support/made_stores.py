"""Stores of made keys: S3, Google Cloud Storage or Azure, each in a process of its own.

It prints the variables by which clients find it.

python -m vector_pipeline_tests.support.made_stores s3|gs|az KEYS SECONDS PAGE
"""

from __future__ import annotations

import sys

import orjson

from vector_pipeline_tests.support.azure_server import AzureServer
from vector_pipeline_tests.support.counting_server import CountingServer
from vector_pipeline_tests.support.gcs_server import GcsServer
from vector_pipeline_tests.support.listing_server import ListingServer


def made_keys(number: int) -> list[str]:
    """Keys as of a bucket that grew over years: some folders are large, some small, and some files lie beside them."""
    keys = {f"mail/2026/{n % 12 + 1:02}/{n % 28 + 1:02}/message-{n:08}.eml" for n in range(number // 2)}
    keys |= {f"wiki/pages/{n * 2654435761 % 2**32:08x}.md" for n in range(number // 4)}
    keys |= {f"보관/{chr(0xAC00 + n * 7 % 11_172)}{n}.txt" for n in range(number // 8)}
    keys |= {f"{n:06}.txt" for n in range(number - len(keys))}
    return sorted(keys)


def _made(store: str, keys: list[str], seconds: float, page: int) -> CountingServer:
    if store == "gs":
        return GcsServer(keys, seconds, page=page)
    if store == "az":
        return AzureServer(keys, seconds, page=page)
    return ListingServer(keys, seconds, page=page)


if __name__ == "__main__":
    started = _made(sys.argv[1], made_keys(int(sys.argv[2])), float(sys.argv[3]), int(sys.argv[4]))
    sys.stdout.write(orjson.dumps(started.variables).decode() + "\n")
    sys.stdout.flush()
    started.serve_forever()
