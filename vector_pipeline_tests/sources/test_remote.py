"""A bucket on a real S3 server (moto's, over HTTP), and listings that no store in its senses gives."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec import AbstractFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.base import ListedFile, PassedOver
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.remote import RemoteSource
from vector_pipeline.stages.scan import scan
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline.text.readers import readable


def test_a_bucket_is_listed_read_and_seen_to_change(bucket: str) -> None:
    store = fsspec.filesystem("s3")
    store.pipe("texts/in/김치.txt", "배추".encode())
    store.pipe("texts/in/deep/er.md", b"# Deep")
    store.pipe("texts/in/picture.png", b"x")
    source = open_source(f"{bucket}/in/")
    listed = [item for item in source.walk(readable) if isinstance(item, ListedFile)]
    assert [item.path for item in listed] == ["deep/er.md", "김치.txt"]
    with source.open("김치.txt") as opened:
        assert opened.read().decode() == "배추"
        before = listed[1].fingerprint
        assert source.fingerprint("김치.txt", opened) == before
    store.pipe("texts/in/김치.txt", "무우".encode())
    assert source.fingerprint("김치.txt") != before
    store.rm("texts/in/김치.txt")
    with pytest.raises(FileNotFoundError):
        source.open("김치.txt")


@pytest.mark.slow
def test_each_key_of_a_bucket_is_a_file_of_its_own(bucket: str, database: Database) -> None:
    keys = [
        "a.txt",
        "bees.txt",
        "/bees.txt",
        "//bees.txt",
        "a//b.txt",
        "a/b.txt",
        "a/b .txt",
        " a.txt",
        "a%2Fb.txt",
        "a+b.txt",
    ]
    keys += ["a?b.txt", "a#b.txt", "a*b.txt", "a[1].txt", "a\\b.txt", "ㄱ.txt", "a\x01b.txt"]
    client = fsspec.filesystem("s3")
    for key in [*keys, "marker/", "other.txt/"]:
        client.call_s3("put_object", Bucket="texts", Key=f"docs/{key}", Body=f"The text of {key!r}.".encode())
    source = open_source(f"{bucket}/docs")
    listed = [item.path for item in source.walk(readable) if isinstance(item, ListedFile)]
    assert listed == sorted(keys)
    for path in listed:
        with source.open(path) as opened:
            assert opened.read().decode() == f"The text of {path!r}."
    assert scan(database, source, ScanOptions()).new == len(keys)
    assert scan(database, source, ScanOptions()).unchanged == len(keys)


class Listing(AbstractFileSystem):  # type: ignore[misc]
    """A store that lists whatever it is made with."""

    cachable = False
    entries: dict[Any, Any]

    def find(self, path: str, **_: Any) -> dict[Any, Any]:
        return self.entries

    def _open(self, path: str, *_: Any, **__: Any) -> Any:
        raise FileNotFoundError(path)


def _source(entries: dict[Any, Any]) -> RemoteSource:
    store = Listing()
    store.entries = entries
    return RemoteSource("odd://root", store, "root")


_NAMES = st.lists(
    st.sampled_from(
        ["a", "b", "/", "//", ".", "..", ".txt", ".md", " ", "\x00", "\ud800", "\x1b", "?versionId=1", "한", "%2F"]
    ),
    max_size=6,
).map("".join)
_ODD = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.datetimes(), st.just(2**64), st.just([]))
_INFOS = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from(["size", "ETag", "LastModified", "mtime", "created", "type"]), _ODD, max_size=4),
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.dictionaries(st.one_of(_NAMES.map("root/".__add__), _NAMES, st.just("root")), _INFOS, max_size=8))
def test_no_entry_of_a_listing_ends_a_scan_or_takes_another_along(database: Database, entries: dict[str, Any]) -> None:
    good = {"size": 1, "ETag": "e", "LastModified": datetime(2026, 1, 1, tzinfo=UTC)}
    source = _source({**entries, "root/good.txt": good})
    items = list(source.walk(readable))
    listed = [item.path for item in items if isinstance(item, ListedFile)]
    assert listed == sorted(set(listed))
    assert "good.txt" in listed
    for path in listed:
        assert f"root/{path}" in {*entries, "root/good.txt"}
    with database.connect() as connection:
        connection.execute("TRUNCATE source_files, arrivals, scans CASCADE")
    assert scan(database, source, ScanOptions()).new == len(listed)
    with database.connect() as connection:
        (arrival,) = manifest.pending_arrivals(connection)
        assert [file.path for file in manifest.owned_files(connection, arrival)] == listed
    for item in items:
        assert isinstance(item, ListedFile) or item.path.isprintable()


def test_what_a_store_cannot_tell_of_a_known_file_is_no_deletion_of_it(database: Database) -> None:
    known = {f"root/{n}.txt": {"size": 1, "ETag": "e"} for n in range(3)}
    assert scan(database, _source(known), ScanOptions()).new == 3
    found = scan(database, _source({**known, "root/1.txt": {"size": "many"}}), ScanOptions())
    assert (found.unchanged, found.deleted, [item.path for item in found.passed_over]) == (2, 0, ["1.txt"])


def test_names_by_which_another_file_would_be_read_are_passed_over_by_name() -> None:
    names = ["../b.txt", "a/./b.txt", "b.txt?versionId=1.txt", "a\x00.txt"]
    items = list(_source({f"root/{name}": {"size": 1} for name in names} | {"elsewhere/a.txt": {}}).walk(readable))
    assert all(isinstance(item, PassedOver) for item in items)
    assert len(items) == len(names) + 1


def test_an_archive_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be opened.*no\.zip"):
        open_source(f"zip://x::file://{tmp_path}/no.zip")
