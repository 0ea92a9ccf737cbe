"""Google Cloud Storage through gcsfs: the same files as `find` lists, side by side, with only what is needed of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from gcp_storage_emulator.server import create_server

from vector_pipeline.errors import SourceError
from vector_pipeline.sources import gcs
from vector_pipeline.sources.base import ListedFile
from vector_pipeline.sources.opening import open_source
from vector_pipeline.text.readers import readable
from vector_pipeline_tests.support.gcs_server import GcsServer
from vector_pipeline_tests.support.made_stores import made_keys
from vector_pipeline_tests.support.opened_store import Found, files, opened


@pytest.fixture
def _without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    yield
    fsspec.get_filesystem_class("gs").clear_instance_cache()


pytestmark = pytest.mark.usefixtures("_without_credentials")


NAMES = [
    "a.txt",
    "in/",
    "in/a b&c.txt",
    "in/deep/er.md",
    "in/한글.txt",
    "in/（주）.txt",
    "in/😀.txt",
    "in.txt",
    "z#1?.txt",
]


@pytest.mark.parametrize("url", ["gs://texts", "gs://texts/in", "gcs://texts/in/"])
def test_files_are_those_that_find_lists(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Otherwise all of them would be loaded once more after an upgrade."""
    with opened(GcsServer(NAMES, page=3), monkeypatch, url) as source:
        listed = files(source)
        assert listed == files(Found(source.root, source.filesystem, source.prefix))
        assert len(listed) == (8 if url == "gs://texts" else 5)
        assert [item.path for item in listed] == sorted(item.path for item in listed)
        for item in listed:
            assert item.size
            assert item.modified > 1.79e9
            assert source.look_at(item.path) == item
            assert source.fingerprint(item.path) == item.fingerprint


def test_a_listing_asks_only_for_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    server = GcsServer(NAMES, page=2)
    with opened(server, monkeypatch, "gs://texts/in") as source:
        assert len(files(source)) == 5
    assert len(server.asked) == 3
    for asked in server.asked:
        assert asked["fields"] == "nextPageToken,items(name,size,etag,md5Hash,updated)"
        assert asked["prefix"] == "in/"


@pytest.mark.slow
def test_a_large_bucket_is_listed_by_requests_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = made_keys(8_000)
    server = GcsServer(keys, 0.02, page=100)
    with opened(server, monkeypatch, "gs://texts") as source:
        assert [item.path for item in files(source)] == keys
    assert server.most_under_way >= 4
    assert server.requests[1_000] <= 200  # of 80 pages, and some that begin parts: how many is a matter of timing


def test_what_cannot_be_listed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(GcsServer(NAMES), monkeypatch, "gs://texts"):
        for url, reason in {
            "gs://nowhere": "cannot be listed: b/nowhere/o$",
            "gs://secret": r"cannot be listed: Forbidden: .* t does not have storage\.objects\.list access$",
            "gs://texts/nothing": "does not exist$",
            "gs://texts/a.txt": "is a file; give the folder that holds it$",
        }.items():
            with pytest.raises(SourceError, match=f"source '{url}' {reason}"):
                files(open_source(url))  # type: ignore[arg-type]


def test_an_empty_bucket_has_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(GcsServer([]), monkeypatch, "gs://texts") as source:
        assert files(source) == []


def test_a_file_that_the_store_does_not_describe_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    server = GcsServer(["a.txt", "b.txt"])
    server.objects["a.txt"] = {"name": "a.txt", "size": "many", "updated": "yesterday"}
    with opened(server, monkeypatch, "gs://texts") as source:
        assert [item.path for item in files(source)] == ["b.txt"]


def test_a_file_system_of_another_kind_is_listed_by_find() -> None:
    assert gcs.Bucket.of(fsspec.filesystem("memory"), "texts") is None


@pytest.mark.slow
def test_a_bucket_is_listed_read_and_seen_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a server that others wrote."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="texts")
    server.start()
    try:
        host, port = server._api._httpd.server_address
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
        fsspec.get_filesystem_class("gs").clear_instance_cache()
        store = fsspec.filesystem("gs")
        store.pipe("texts/in/김치.txt", "배추".encode())
        store.pipe("texts/in/deep/er.md", b"# Deep")
        store.pipe("texts/in/picture.png", b"x")
        source = open_source("gs://texts/in/")
        listed = [item for item in source.walk(readable) if isinstance(item, ListedFile)]
        assert [item.path for item in listed] == ["deep/er.md", "김치.txt"]
        with source.open("김치.txt") as file:
            assert file.read().decode() == "배추"
        assert source.fingerprint("김치.txt") == listed[1].fingerprint
        store.pipe("texts/in/김치.txt", "무우".encode())
        assert source.fingerprint("김치.txt") != listed[1].fingerprint
    finally:
        server.stop()
