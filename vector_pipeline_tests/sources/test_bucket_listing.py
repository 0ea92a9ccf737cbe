"""A listing of a bucket in parallel: each key once, in order, whatever the keys, and how many requests that takes."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from random import Random

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vector_pipeline.errors import SourceError
from vector_pipeline.sources.base import ListedFile
from vector_pipeline.sources.bucket_listing import Order, Page, list_bucket
from vector_pipeline.sources.opening import open_source
from vector_pipeline.sources.spool import Entry, Spool, sorted_apart
from vector_pipeline_tests.support.listing_server import ListingServer, serve_listing
from vector_pipeline_tests.support.made_stores import made_keys


class Keys:
    """A store of keys that counts the requests for pages and for single keys.

    `order` is what the store is known for. If `left_out` says so of a key, it is counted in a page and is not in it.
    """

    name = "texts"
    stem = ""

    def __init__(
        self,
        keys: Sequence[str],
        *,
        page: int = 1_000,
        seconds: float = 0.0,
        order: Order | None = Order.CODE_POINTS,
        left_out: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.keys = list(keys)
        self.page_size = page
        self.seconds = seconds
        self.order = order
        self.left_out = left_out
        self.places = [self.place(key) for key in keys]
        self.pages = self.probes = 0
        self.by_thread: Counter[int] = Counter()

    def place(self, key: str) -> bytes:
        return key.encode("utf-16-be" if self.order is Order.UTF_16 else "utf-8", "surrogatepass")

    def page(self, *, after: str = "", token: str | None = None, at_most: int | None = None) -> Page:
        self.pages += at_most is None
        self.probes += at_most == 1
        self.by_thread[threading.get_ident()] += 1
        time.sleep(self.seconds)
        begin = int(token) if token else bisect_right(self.places, self.place(after)) if after else 0
        end = begin + min(at_most or 1_000, self.page_size)
        entries = [Entry(key, len(key), "tag", 0.0) for key in self.keys[begin:end] if not self.left_out(key)]
        return Page(entries, str(end) if end < len(self.keys) else None, self.order)


def in_utf_16(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: key.encode("utf-16-be"))


def listed(store: Keys, workers: int = 10) -> list[str]:
    return [entry.key for entry in list_bucket(store, workers=workers)]


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


def unusual(seed: int, number: int = 400) -> set[str]:
    """Names with characters on both sides of those whose place differs between the orders."""
    random = Random(seed)
    characters = ["a", "b", "/", "z", "한", "\ud7ff", "\ue000", "（", "\uffff", "😀", "\U0010ffff", "0", "9"]
    weights = [random.random() ** 2 for _ in characters]
    return {"".join(random.choices(characters, weights, k=random.randint(1, 7))) for _ in range(number)}


SEEDS = st.integers(0, 2**32)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(2, 4), st.integers(1, 6))
def test_unusual_keys_are_listed_once_and_in_order(seed: int, page: int, workers: int) -> None:
    keys = unusual(seed)
    assert listed(Keys(sorted(keys), page=page), workers=workers) == sorted(keys)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(2, 4), st.integers(1, 6))
def test_a_store_in_the_order_of_utf_16_is_listed_in_that_of_code_points(seed: int, page: int, workers: int) -> None:
    keys = unusual(seed)
    store = Keys(in_utf_16(keys), page=page, order=Order.UTF_16)
    assert listed(store, workers=workers) == sorted(keys)
    assert store.pages < 2 * len(keys) / page + 20  # it was listed once


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(2, 4), st.integers(1, 6))
def test_no_key_is_lost_in_a_store_that_is_taken_for_one_in_the_order_of_utf_16(
    seed: int, page: int, workers: int
) -> None:
    class Mistaken(Keys):
        def place(self, key: str) -> bytes:
            return key.encode()

    keys = unusual(seed)
    assert listed(Mistaken(sorted(keys), page=page, order=Order.UTF_16), workers=workers) == sorted(keys)


@settings(max_examples=60, deadline=None)
@given(st.sets(NAMES, max_size=300), st.integers(1, 4), st.integers(1, 6))
def test_pages_without_files_are_not_the_end(keys: set[str], page: int, workers: int) -> None:
    store = Keys(sorted(keys), page=page, left_out=lambda key: len(key) % 3 > 0)
    assert listed(store, workers=workers) == sorted(key for key in keys if not store.left_out(key))


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
    assert listed(Keys(by_folder, order=None)) == keys


def test_an_error_of_one_request_ends_the_listing_with_it() -> None:
    class Failing(Keys):
        def page(self, *, after: str = "", token: str | None = None, at_most: int | None = None) -> Page:
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


def walked(server: ListingServer, monkeypatch: pytest.MonkeyPatch, url: str = "s3://texts") -> list[str]:
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        return [item.path for item in open_source(url).walk(lambda _: True) if isinstance(item, ListedFile)]
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.slow
def test_a_store_over_http_is_listed_by_requests_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = made_keys(60_000)
    with serve_listing(keys, 0.05) as server:
        assert walked(server, monkeypatch) == keys
        assert server.most_under_way >= 4
        assert server.requests[1_000] <= 150  # of 60 pages, and some that begin parts: how many is a matter of timing


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SeaweedFS 30GB 4.0", "AmazonS3"])
def test_a_store_over_http_that_lists_folders_first_loses_no_key(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    keys = sorted(made_keys(36_000) + [f"wiki/pages-{n:05}.txt" for n in range(3_500)])
    with serve_listing(sorted(keys, key=lambda key: key.replace("/", "\x00")), name=name) as server:
        assert walked(server, monkeypatch) == keys
        # One chain is enough to find that out, and then it is all there.
        assert server.requests == {1_000: 40}


@pytest.mark.slow
def test_a_bucket_that_cannot_be_a_source_is_named(bucket: str) -> None:
    with pytest.raises(SourceError, match=r"source 's3://nowhere' cannot be listed: .*exist"):
        list(open_source("s3://nowhere").walk(lambda _: True))
    with pytest.raises(SourceError, match=f"source '{bucket}/nothing' does not exist"):
        list(open_source(f"{bucket}/nothing").walk(lambda _: True))
    fsspec.open(f"{bucket}/a.txt", "w").open().close()
    with pytest.raises(SourceError, match=f"source '{bucket}/a.txt' is a file; give the folder that holds it"):
        list(open_source(f"{bucket}/a.txt").walk(lambda _: True))


@pytest.mark.slow
def test_times_are_those_of_botocores_own_parser(bucket: str) -> None:
    """A fingerprint holds the time of change, and that of an earlier version was read by it."""
    store = fsspec.filesystem("s3")
    store.pipe("texts/a.txt", b"one")
    (listed,) = open_source(bucket).walk(lambda _: True)
    assert isinstance(listed, ListedFile)
    assert listed.modified == store.info("texts/a.txt")["LastModified"].timestamp()
    assert open_source(bucket).fingerprint("a.txt") == listed.fingerprint
