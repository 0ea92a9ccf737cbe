"""A listing and the manifest side by side: each file once, with what the other side knows of it."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.sources.base import ListedFile, PassedOver, Source
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.side_by_side import has_same_bytes, hash_bytes, lies_in, side_by_side
from vector_pipeline.store.manifest import KnownFile

# Few letters, so that both sides often have the same path; with one beyond the Basic Multilingual Plane, whose place
# differs between code points and UTF-16.
PATHS = st.sets(st.text("ab/\uffee\U00010000", min_size=1, max_size=3), max_size=12)


def listed(path: str) -> ListedFile:
    return ListedFile(path, 1, "1", 0.0)


def known(path: str, size: int = 1, bytes_hash: bytes | None = None) -> KnownFile:
    return KnownFile(path, "1", size, bytes_hash, "loaded", gone=False)


@given(PATHS, PATHS)
def test_both_sides_are_compared_like_sets(ours: set[str], theirs: set[str]) -> None:
    pairs = list(side_by_side(map(listed, sorted(ours)), map(known, sorted(theirs))))
    names = [((one and one.path), (other and other.path)) for one, other in pairs]
    assert set(names) == {(path if path in ours else None, path if path in theirs else None) for path in ours | theirs}
    assert [one or other for one, other in names] == sorted(ours | theirs)


@given(PATHS, PATHS, PATHS)
def test_what_a_listing_passed_over_is_a_pair_of_its_own(ours: set[str], passed: set[str], theirs: set[str]) -> None:
    found: list[ListedFile | PassedOver] = [*map(listed, ours), *(PassedOver(path, "a link") for path in passed)]
    listing = sorted(found, key=lambda item: item.path)
    pairs = list(side_by_side(iter(listing), map(known, sorted(theirs))))
    assert {one.path for one, other in pairs if isinstance(one, PassedOver) and other is None} == passed
    without = [(one, other) for one, other in pairs if not isinstance(one, PassedOver)]
    assert without == list(side_by_side(map(listed, sorted(ours)), map(known, sorted(theirs))))


NAMES = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map("/".join)


@given(NAMES, st.sets(NAMES, max_size=4))
def test_a_path_lies_in_a_folder_by_whole_names(path: str, folders: set[str]) -> None:
    assert lies_in(path, folders) == any(path == folder or path.startswith(f"{folder}/") for folder in folders)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "a.txt").write_text("the same text")
    return open_source(str(tmp_path))


@pytest.fixture
def of_the_text(source: Source) -> bytes:
    with source.open("a.txt") as stream:
        return hash_bytes(stream)


def test_a_file_that_was_only_touched_has_the_same_bytes(source: Source, of_the_text: bytes) -> None:
    assert has_same_bytes(source, ListedFile("a.txt", 13, "2", 0.0), known("a.txt", 13, of_the_text))


def test_other_bytes_of_the_same_length_are_found(source: Source, of_the_text: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("another text.")
    assert not has_same_bytes(source, ListedFile("a.txt", 13, "2", 0.0), known("a.txt", 13, of_the_text))


@pytest.mark.parametrize(("size", "hashed"), [(12, True), (13, False)])
def test_without_the_same_size_and_a_hash_nothing_is_known(
    source: Source, of_the_text: bytes, size: int, hashed: bool
) -> None:
    file = known("a.txt", size, of_the_text if hashed else None)
    assert not has_same_bytes(source, ListedFile("a.txt", 13, "2", 0.0), file)


def test_a_file_that_vanishes_is_left_to_its_arrival(source: Source, of_the_text: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.txt").unlink()
    assert not has_same_bytes(source, ListedFile("a.txt", 13, "2", 0.0), known("a.txt", 13, of_the_text))


def test_a_store_that_is_expensive_to_read_is_not_read(of_the_text: bytes) -> None:
    fsspec.filesystem("memory").pipe("/side_by_side/a.txt", b"the same text")
    remote = open_source("memory://side_by_side")
    assert not has_same_bytes(remote, ListedFile("a.txt", 13, "2", 0.0), known("a.txt", 13, of_the_text))


def test_the_hash_of_a_long_file_is_that_of_all_its_pieces(tmp_path: Path) -> None:
    hashes = set()
    for end in (b"a", b"b"):
        (tmp_path / "long").write_bytes(b"x" * (3 << 20) + end)
        with (tmp_path / "long").open("rb") as stream:
            hashes.add(hash_bytes(stream))
    assert len(hashes) == 2
