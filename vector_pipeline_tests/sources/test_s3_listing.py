"""A listing of a bucket in parallel: each key once, in order, whatever the keys, and how many requests that takes."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vector_pipeline.errors import SourceError
from vector_pipeline.sources.base import ListedFile
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.s3_listing import Page, list_bucket
from vector_pipeline.sources.spool import Entry, Spool, sorted_apart
from vector_pipeline_tests.support.listing_server import ListingServer, made_keys, serve_listing


class Keys:
    """A store of keys that counts the requests for pages and for single keys."""

    def __init__(
        self, keys: Sequence[str], *, page: int = 1_000, seconds: float = 0.0, keeps_order: bool = True
    ) -> None:
        self.keys = list(keys)
        self.page_size = page
        self.seconds = seconds
        self.keeps_order = keeps_order
        self.pages = self.probes = 0
        self.by_thread: Counter[int] = Counter()

    def page(self, *, after: str = "", token: str | None = None, at_most: int = 1_000) -> Page:
        self.pages += at_most > 1
        self.probes += at_most == 1
        self.by_thread[threading.get_ident()] += 1
        time.sleep(self.seconds)
        begin = int(token) if token else bisect_right(self.keys, after) if after else 0
        end = begin + min(at_most, self.page_size)
        entries = [Entry(key, len(key), "tag", 0.0) for key in self.keys[begin:end]]
        return Page(entries, str(end) if end < len(self.keys) else None, self.keeps_order)


def listed(store: Keys, stem: str = "", workers: int = 10) -> list[str]:
    return [entry.key for entry in list_bucket(store, stem, workers=workers)]


NAMES = st.lists(
    st.sampled_from(["a", "b", "/", "z", "2026", ".txt", "-", " ", "한", "글", "\U0010ffff", "~", "0", "9", "\x7f"]),
    min_size=1,
    max_size=8,
).map("".join)


@settings(max_examples=60, deadline=None)
@given(st.sets(NAMES, max_size=300), st.integers(1, 4), st.integers(1, 6))
def test_each_key_is_listed_once_and_in_order(keys: set[str], page: int, workers: int) -> None:
    store = Keys(sorted(keys), page=page)
    assert listed(store, workers=workers) == sorted(keys)


def test_a_small_bucket_takes_no_request_more_than_a_plain_listing() -> None:
    store = Keys(made_keys(3_150), page=100)
    assert listed(store) == store.keys
    assert (store.pages, store.probes) == (32, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [
        made_keys(20_000),
        [f"{n:08}.txt" for n in range(20_000)],
        sorted({f"logs/year={2000 + n % 20}/{n * 2654435761 % 2**32:08x}.json" for n in range(20_000)}),
        sorted({f"한글/{chr(0xAC00 + n * 7919 % 11_172)}/{n}.txt" for n in range(20_000)}),
        [f"one/very/deep/folder/{'x' * 80}/{n:09}" for n in range(20_000)],
    ],
    ids=["of all kinds", "numbers", "hashes in years", "Korean", "deep"],
)
def test_a_large_bucket_is_listed_side_by_side_for_a_few_requests_more(keys: list[str]) -> None:
    pages = 400
    store = Keys(keys, page=len(keys) // pages, seconds=0.01)
    assert listed(store) == keys
    # The requests of one thread follow one another. A plain listing is one such chain.
    assert max(store.by_thread.values()) < 0.5 * pages
    assert store.pages <= 1.3 * pages
    assert store.probes <= pages  # a quarter to three quarters; more on a busy machine


def test_a_store_that_lists_folders_first_loses_no_key() -> None:
    """As a file system does: the folder a comes before a.txt, whose name has a sign that sorts before the slash."""
    keys = sorted(made_keys(30_000) + [f"wiki/pages-{n:05}.txt" for n in range(3_000)])
    by_folder = sorted(keys, key=lambda key: key.replace("/", "\x00"))
    assert by_folder != keys
    assert listed(Keys(by_folder, keeps_order=False)) == keys


def test_an_error_of_one_request_ends_the_listing_with_it() -> None:
    class Failing(Keys):
        def page(self, *, after: str = "", token: str | None = None, at_most: int = 1_000) -> Page:
            if self.pages > 20:
                raise PermissionError("Access Denied")
            return super().page(after=after, token=token, at_most=at_most)

    with pytest.raises(PermissionError):
        listed(Failing(made_keys(60_000)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("listing", "probing"))]


def test_pages_are_read_back_as_they_were() -> None:
    entries = [Entry("a\x01\n한.txt", 3, '"etag"', 1.5), Entry("b", 2**40, "", 0.0)]
    with Spool() as spool:
        places = [spool.add(entries), spool.add([]), spool.add(entries[:1])]
        assert [spool.read(place) for place in places] == [entries, [], entries[:1]]


@given(st.lists(NAMES, max_size=50))
def test_sorting_apart_has_the_order_of_code_points(keys: list[str]) -> None:
    assert [entry.key for entry in sorted_apart(Entry(key, 0, "", 0.0) for key in keys)] == sorted(set(keys))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "t",
        "AWS_SECRET_ACCESS_KEY": "t",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


def walked(server: ListingServer, monkeypatch: pytest.MonkeyPatch, url: str = "s3://texts") -> list[str]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        return [item.path for item in open_source(url).walk(lambda _: True) if isinstance(item, ListedFile)]
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.slow
@pytest.mark.usefixtures("at")
def test_a_store_over_http_is_listed_by_requests_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = made_keys(60_000)
    with serve_listing(keys, 0.05) as server:
        assert walked(server, monkeypatch) == keys
        assert server.most_under_way >= 4
        assert server.requests[1_000] <= 120


@pytest.mark.slow
@pytest.mark.usefixtures("at")
@pytest.mark.parametrize("name", ["SeaweedFS 30GB 4.0", "AmazonS3"])
def test_a_store_over_http_that_lists_folders_first_loses_no_key(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    keys = sorted(made_keys(36_000) + [f"wiki/pages-{n:05}.txt" for n in range(3_500)])
    with serve_listing(sorted(keys, key=lambda key: key.replace("/", "\x00")), name=name) as server:
        assert walked(server, monkeypatch) == keys
        # One chain is enough to find that out, and then it is all there.
        assert server.requests == {1_000: 40}


@pytest.mark.slow
def test_a_bucket_that_does_not_exist_is_named(bucket: str) -> None:
    with pytest.raises(SourceError, match=r"source 's3://nowhere' cannot be listed: .*exist"):
        list(open_source("s3://nowhere").walk(lambda _: True))
    with pytest.raises(SourceError, match=f"source '{bucket}/nothing' does not exist"):
        list(open_source(f"{bucket}/nothing").walk(lambda _: True))


@pytest.mark.slow
def test_times_are_those_of_botocores_own_parser(bucket: str) -> None:
    """A fingerprint holds the time of change, and that of an earlier version was read by it."""
    store = fsspec.filesystem("s3")
    store.pipe("texts/a.txt", b"one")
    (listed,) = open_source(bucket).walk(lambda _: True)
    assert isinstance(listed, ListedFile)
    assert listed.modified == store.info("texts/a.txt")["LastModified"].timestamp()
    assert open_source(bucket).fingerprint("a.txt") == listed.fingerprint
