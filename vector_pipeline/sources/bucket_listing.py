"""List a bucket in parallel, in the order of its keys.

A store returns a page of keys with a request (at most 1,000, or 5,000 in Azure), and the next request names the place
where the last one ended. So a plain listing of a large bucket is a chain of requests. `list_bucket` divides the range of
keys where it finds keys, and follows a chain in each part at the same time:

    one part                    a bucket of up to FIRST_PAGES pages costs no request more than a plain listing
    the part is divided         while workers are idle, behind the last key that it has seen
    ├── stem + a …              the stem is what the following keys have in common; the parts begin at some of the
    ├── stem + h …              characters that follow it (`docs/2026-01/`, `docs/2026-07/`)
    └── stem + s …

The pages lie in a temporary file until they are read, so memory does not grow with the bucket. Only a store that keeps
an order of keys is divided.
"""

from __future__ import annotations

import string
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from vector_pipeline.sources.spool import Entry, Place, Spool, sorted_apart

WORKERS = 10
"""Requests at the same time: as many as botocore has connections by default."""

PROBES = 8
"""Requests for one key at the same time, beside those."""

FIRST_PAGES = 32
"""A listing is divided after this many pages: before, looking for parts would cost more requests than it saves."""

PAGES_BETWEEN = 4
"""A part is divided again after this many pages of its own."""


class Order(Enum):
    """An order in which a store lists keys. They differ for keys with characters after U+D7FF."""

    CODE_POINTS = "code points"
    """It is that of the bytes in UTF-8, too."""
    UTF_16 = "UTF-16 code units"
    """Characters after U+FFFF come before those from U+E000 to U+FFFF."""

    @property
    def last(self) -> str:
        """A late character: `stem + last` comes after the keys that begin with `stem`, unless a later character follows.

        In both orders the same keys come before `stem + last`, if `stem` has no character after U+D7FF. So no key is
        lost if a store keeps the one order and is taken for one that keeps the other.
        """
        return "\U0010ffff" if self is Order.CODE_POINTS else _LAST_OF_BOTH

    def divides_at(self, stem: str) -> bool:
        """Whether a part may begin at a place that begins with `stem`."""
        return self is Order.CODE_POINTS or all(character <= _LAST_OF_BOTH for character in stem)

    def is_after(self, key: str, other: str) -> bool:
        """Whether a store that keeps this order may list a key after another one."""
        return key > other or (self is Order.UTF_16 and _utf_16(key) > _utf_16(other))


_LAST_OF_BOTH = "\ud7ff"

# Where parts may begin: printable ASCII, and of other scripts a few characters with about as many between two.
_CLASSES = (
    string.digits,
    string.ascii_uppercase,
    string.ascii_lowercase,
    "".join(map(chr, range(0xAC00, 0xD7A4, 0x400))),
)
_OTHERS = [chr(code) for code in (*range(0x21, 0x7F), *range(0xC0, 0x1200, 0x80), *range(0x3040, 0xAC00, 0x400))]
_STARTS = sorted({*"".join(_CLASSES), *_OTHERS})


class Page(NamedTuple):
    """An answer of the store."""

    entries: list[Entry]
    token: str | None
    """What continues the listing; None if this is its end."""
    order: Order | None
    """The order of keys that the store is known to keep."""


class Store(Protocol):
    """The part of a bucket below a stem. Several threads can list it."""

    @property
    def name(self) -> str:
        """The name of the bucket."""
        ...

    @property
    def stem(self) -> str:
        """What all keys begin with: empty, or a folder with a slash at its end."""
        ...

    def page(self, *, after: str = "", token: str | None = None, at_most: int | None = None) -> Page:
        """The first keys after a key, or of those the keys that a token continues with.

        There are as many as the store gives, but at most `at_most`. A store that keeps no order may ignore `after`.
        """
        ...


@dataclass(frozen=True)
class BucketPart:
    """The part of a bucket below a stem, behind a file system of fsspec: what the stores share."""

    needs: ClassVar[str]
    """What the file system must have, so that the store can be listed page by page."""

    filesystem: Any
    name: str
    stem: str

    @classmethod
    def of(cls, filesystem: Any, prefix: str) -> Self | None:
        """The part below a folder such as `texts/law`; None if this version of the file system cannot list it."""
        if not hasattr(filesystem, cls.needs):
            return None
        name, key, _ = filesystem.split_path(prefix)
        return cls(filesystem, name, f"{key}/" if key else "")


@dataclass(eq=False)
class _Part:
    """The keys after `after` up to `until`, and the pages of those already found."""

    after: str
    until: str | None
    first: Page | None = None
    """The first page, where looking for the part has brought it already."""
    pages: list[Place] = field(default_factory=list)


def list_bucket(store: Store, *, workers: int = WORKERS) -> Iterator[Entry]:
    """Yield all files of a store in the order of their keys' code points, once all are listed.

    Raises the errors of `store`. If the store keeps no order, one chain of requests lists it. What is not in the order
    of code points is sorted in a temporary file.
    """
    with Spool() as spool:
        listing = _Listing(store, spool, workers)
        listing.run()
        if not listing.is_ordered and len(listing.parts) > 1:
            # The store was taken for one that keeps an order, so there may be keys outside of the ranges.
            listing = _Listing(store, spool, workers=1)
            listing.run()
        yield from listing.entries() if listing.is_sorted else sorted_apart(listing.entries())


class _Listing:
    def __init__(self, store: Store, spool: Spool, workers: int) -> None:
        self._store = store
        self._spool = spool
        self._workers = workers
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._running: set[Future[None]] = set()
        self.is_ordered = True
        """Whether the store keeps the order that it is known for; if not, the parts may lack keys."""
        self.is_sorted = True
        """Whether keys were found in the order of code points."""
        self.parts = [_Part("", None)]
        """In the order of their keys."""

    def entries(self) -> Iterator[Entry]:
        """What was found, part by part."""
        for part in self.parts:
            for place in part.pages:
                yield from self._spool.read(place)

    def run(self) -> None:
        """List all parts. Raises the first error of a request."""
        with (
            ThreadPoolExecutor(self._workers, "listing") as self._lists,
            ThreadPoolExecutor(PROBES, "probing") as self._probes,
        ):
            self._start(self.parts)
            try:
                while self._running:
                    self._wait()
            except BaseException:
                # Also an interruption: each part ends with the page that it is waiting for.
                self._ended.set()
                raise

    def _start(self, parts: Sequence[_Part]) -> None:
        with self._lock:
            self._running |= {self._lists.submit(self._list, part) for part in parts}

    def _wait(self) -> None:
        with self._lock:
            running = set(self._running)
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        with self._lock:
            # A part that starts others does so before it ends.
            self._running -= done
        for future in done:
            future.result()

    def _list(self, part: _Part) -> None:
        last, token, pages = part.after, None, 0
        while not self._ended.is_set():
            page = self._next(part, token)
            keys = [entry.key for entry in page.entries]
            self._look_at_order([last, *keys], page.order)
            kept = [entry for entry in page.entries if part.until is None or entry.key <= part.until]
            if kept:
                part.pages.append(self._spool.add(kept))
            token, last = page.token, keys[-1] if keys else last
            if token is None or len(kept) < len(keys):
                return
            pages += 1
            if page.order is not None and self.is_ordered and self._is_to_be_divided(part, pages):
                self._divide(part, last, page.order)
                pages = 0

    def _look_at_order(self, keys: Sequence[str], order: Order | None) -> None:
        if any(following <= key for key, following in pairwise(keys)):
            self.is_sorted = False
            if order is None or not all(order.is_after(following, key) for key, following in pairwise(keys)):
                self.is_ordered = False

    def _is_to_be_divided(self, part: _Part, pages: int) -> bool:
        if len(self.parts) == 1 and pages < FIRST_PAGES:
            return False
        idle = self._workers - len(self._running)
        return idle > 0 and (pages >= PAGES_BETWEEN or 2 * idle > self._workers)

    def _next(self, part: _Part, token: str | None) -> Page:
        page, part.first = part.first, None
        if page is not None:
            return page
        return self._store.page(after=part.after, token=token)

    def _divide(self, part: _Part, last: str, order: Order) -> None:
        """Leave what follows `last` to new parts, if workers are idle, as far as there are keys to begin them with."""
        idle = self._workers - len(self._running)
        firsts = self._first_pages(part, last, idle, order) if idle > 0 else {}
        if not firsts:
            return
        begins = list(firsts)
        ends = [*begins[1:], part.until]
        added = [_Part(after, until, firsts[after]) for after, until in zip(begins, ends, strict=True)]
        with self._lock:
            part.until = begins[0]
            at = self.parts.index(part) + 1
            self.parts[at:at] = added
        self._start(added)

    def _first_pages(self, part: _Part, last: str, at_most: int, order: Order) -> dict[str, Page]:
        """Places behind `last`, in order, with keys of this part between each and the next, and the pages after them."""
        least = len(self._store.stem) if part.until is None else _shared(last, part.until)
        found = self._fork(part, last, least, order)
        if found is None:
            return {}
        length, following = found
        stem = last[:length]
        if not order.divides_at(last[: length + 1]):
            return {}
        places = [stem + last[length] + order.last, *(stem + start for start in _spread(following[length], at_most - 1))]
        places = [place for place in places if part.until is None or place < part.until]
        pages = self._probes.map(lambda place: self._store.page(after=place), places)
        # Nothing lies between two places that the same key follows.
        begins = {page.entries[0].key: (place, page) for place, page in zip(places, pages, strict=True) if page.entries}
        return dict(begin for key, begin in begins.items() if part.until is None or key <= part.until)

    def _fork(self, part: _Part, last: str, least: int, order: Order) -> tuple[int, str] | None:
        """How many characters all keys of the part behind `last` share with it, and the first key that then differs.

        None if all begin with `last`, or if keys were added meanwhile. They share at least so many characters as `least`
        says.
        """
        low, high, found = least, len(last), None
        reach = (0, 1, 3)
        while low < high:
            at = sorted({low + n for n in reach if low + n < high})
            firsts = list(self._probes.map(lambda n: self._first_behind(part, last, n, order), at))
            # The first place behind which there are keys; further on the key itself shares more, so there are keys too.
            hit = next((n for n, first in enumerate(firsts) if first is not None), None)
            if hit is None:
                low = at[-1] + 1
            else:
                low, high, found = (at[hit - 1] + 1 if hit else low), at[hit], firsts[hit]
            width = high - low
            reach = (0, 7, 23) if found is None else (width // 4, width // 2, 3 * width // 4)
        return (low, found) if found is not None and found.startswith(last[:low]) and len(found) > low else None

    def _first_behind(self, part: _Part, last: str, n: int, order: Order) -> str | None:
        """The first key of the part behind those that share n + 1 characters with `last`; None if there is none."""
        place = last[: n + 1] + order.last
        if place <= last or (part.until is not None and place >= part.until):
            return None  # the first: `last` has an unusual character there, behind which a part cannot begin
        key = self._first_key(place)
        if key is None or (part.until is not None and key > part.until):
            return None
        if not order.is_after(key, place):
            self.is_ordered = False
            return None
        return key

    def _first_key(self, place: str) -> str | None:
        page = self._store.page(after=place, at_most=1)
        while not page.entries and page.token is not None:  # a page may have no file
            page = self._store.page(after=place, token=page.token, at_most=1)
        return page.entries[0].key if page.entries else None


def _spread(character: str, at_most: int) -> list[str]:
    """Characters after another one, in order: most are of its own class, since names are numbered or in one script."""
    alike = next((found for found in _CLASSES if character in found), "")
    near = _some([start for start in alike if start > character], at_most - at_most // 3)
    far = [start for start in _STARTS if start > character and start not in alike]
    return sorted([*near, *_some(far, at_most - len(near))])


def _some(starts: Sequence[str], at_most: int) -> Sequence[str]:
    return starts[:: -(-len(starts) // at_most)] if starts and at_most > 0 else []


def _utf_16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _shared(one: str, another: str) -> int:
    """The number of characters that two texts begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, another, strict=False)) if a != b), min(len(one), len(another)))
