"""A bucket on a real S3 server (moto's, over HTTP)."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from vector_pipeline.sources.source import ListedFile, open_source
from vector_pipeline.text.readers import readable


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    fsspec.filesystem("s3").mkdir("texts")
    yield "s3://texts"
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


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
    assert source.fingerprint("김치.txt") == before
    store.pipe("texts/in/김치.txt", "무우".encode())
    assert source.fingerprint("김치.txt") != before
