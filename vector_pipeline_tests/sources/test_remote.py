"""A bucket on a real S3 server (moto's, over HTTP)."""

from __future__ import annotations

import fsspec

from vector_pipeline.sources.base import ListedFile
from vector_pipeline.sources.opening import open_source
from vector_pipeline.text.readers import readable


def test_a_bucket_is_listed_read_and_seen_to_change(bucket: str) -> None:
    store = fsspec.filesystem("s3")
    store.pipe("texts/in/김치.txt", "배추".encode())
    store.pipe("texts/in/deep/er.md", b"# Deep")
    store.pipe("texts/in/picture.png", b"x")
    source = open_source(f"{bucket}/in/")
    listed = [item for item in source.walk(readable) if isinstance(item, ListedFile)]
    assert [item.path for item in listed] == ["deep/er.md", "김치.txt"]
    assert source.open("김치.txt").read().decode() == "배추"
    before = listed[1].fingerprint
    assert source.fingerprint("김치.txt", source.open("김치.txt")) == before
    store.pipe("texts/in/김치.txt", "무우".encode())
    assert source.fingerprint("김치.txt", source.open("김치.txt")) != before
