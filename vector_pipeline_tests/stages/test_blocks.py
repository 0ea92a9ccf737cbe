"""A listing and the manifest by blocks: the same as file by file, and the manifest is read only where they differ."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.errors import SourceError
from vector_pipeline.pipeline.scan_options import ScanOptions
from vector_pipeline.sources.base import ListedFile, PassedOver
from vector_pipeline.sources.opening import open_source
from vector_pipeline.stages.blocks import FEW_BLOCKS, Alike, by_blocks, compared
from vector_pipeline.stages.scan import scan
from vector_pipeline.stages.side_by_side import Pair, side_by_side
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline.store.manifest import Block, FileChange, KnownFile, digest_of

# Few letters, so that both sides often have the same path, with one beyond the Basic Multilingual Plane; and few
# fingerprints, so that they are often alike.
PATHS = st.text("ab/\uffee\U00010000", min_size=1, max_size=3)
FILES = st.dictionaries(PATHS, st.sampled_from("12"), max_size=12)


T = TypeVar("T")


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def listed(files: dict[str, str], passed: set[str]) -> Iterator[ListedFile | PassedOver]:
    found: list[ListedFile | PassedOver] = [PassedOver(path, "a link") for path in passed]
    found += [ListedFile(path, 1, fingerprint, 0.0) for path, fingerprint in files.items() if path not in passed]
    return iter(sorted(found, key=lambda entry: entry.path))


def known(files: dict[str, str], deleted: set[str]) -> list[KnownFile]:
    return [
        KnownFile(path, fingerprint, 1, None, "deleted" if path in deleted else "loaded", gone=False)
        for path, fingerprint in sorted(files.items())
    ]


def cut(files: list[KnownFile], size: int) -> list[Block]:
    present = [file for file in files if file.status != "deleted"]
    return [
        Block(some[-1].path, len(some), digest_of((file.path, file.fingerprint) for file in some))
        for some in batched(present, size)
    ]


@given(FILES, FILES, st.sets(PATHS, max_size=3), st.sets(PATHS, max_size=4), st.integers(1, 5))
def test_by_blocks_says_the_same_as_file_by_file(
    ours: dict[str, str], changes: dict[str, str], passed: set[str], deleted: set[str], size: int
) -> None:
    files = known(ours | changes, deleted)

    def between(after: str, last: str | None) -> Iterator[KnownFile]:
        return iter([file for file in files if file.path > after and (last is None or file.path <= last)])

    alike, found = 0, list[Pair]()
    for step in by_blocks(listed(ours, passed), cut(files, size), between):
        if isinstance(step, Alike):
            alike += step.files
        else:
            found.append(step)
    expected = list(side_by_side(listed(ours, passed), iter(files)))
    left_out = [pair for pair in expected if pair not in found]
    assert sorted(map(repr, found)) == sorted(repr(pair) for pair in expected if pair in found)
    assert sum(map(is_alike, left_out)) == alike
    assert all(is_alike(pair) or is_deleted(pair) for pair in left_out)


def is_alike(pair: Pair) -> bool:
    one, other = pair
    return isinstance(one, ListedFile) and other is not None and one.fingerprint == other.fingerprint


def is_deleted(pair: Pair) -> bool:
    return pair[0] is None and pair[1] is not None and pair[1].status == "deleted"


def test_where_both_are_alike_nothing_of_the_manifest_is_read() -> None:
    files = {f"{number:03}.txt": "1" for number in range(100)}

    def between(after: str, last: str | None) -> Iterator[KnownFile]:
        raise AssertionError(f"files behind {after} up to {last} were read")

    steps = list(by_blocks(listed(files, set()), cut(known(files, set()), 30), between))
    assert [step.files for step in steps if isinstance(step, Alike)] == [30, 30, 30, 10]
    assert len(steps) == 4


def test_any_number_of_blocks_is_walked_without_nesting() -> None:
    """With an iterator inside another one for each block, 300,000 of them would end the process."""
    blocks = (Block(f"{number:06}", 1_000, b"") for number in range(300_000))
    behind = ListedFile("z.txt", 1, "1", 0.0)
    assert list(by_blocks(iter([behind]), blocks, lambda after, last: iter(()))) == [(behind, None)]


def test_postgres_computes_the_same_digests(database: Database) -> None:
    """With names in any script and of any form; deleted files, and those about to be, are left out."""
    names = [f"{number:04}.txt" for number in range(1_500)]
    names += [
        "읽기/공지.txt",
        "읽기/공지\n2:3.txt",
        "\U0001f600.txt",
        "a\\b'c\"d.txt",
        "z" * 3_000,
        "é.txt",
        "e\u0301.txt",
    ]
    with database.connect() as connection:
        changes = [FileChange(name, 1, f"1:{len(name)}:é") for name in names]
        manifest.register_arrival(connection, "/root", "cli", changes)
        manifest.register_arrival(connection, "/other", "cli", changes)
        manifest.register_arrival(connection, "/root", "cli", [FileChange("0007.txt", 0, "", gone=True)])
        connection.execute("UPDATE source_files SET status = 'deleted' WHERE path IN ('0011.txt', '읽기/공지.txt')")
        present = sorted(set(names) - {"0007.txt", "0011.txt", "읽기/공지.txt"})
        found = manifest.known_blocks(connection, "/root")
        assert found == [
            Block(some[-1], len(some), digest_of((path, f"1:{len(path)}:é") for path in some))
            for some in batched(present, manifest.BLOCK_FILES)
        ]
        assert manifest.known_blocks(connection, "/nothing") == []


def test_an_error_of_the_listing_does_not_wait_for_postgres(database: Database) -> None:
    """And neither does Ctrl-C, which comes up in the same place."""

    def listing() -> Iterator[ListedFile | PassedOver]:
        yield ListedFile("a.txt", 1, "1", 0.0)
        raise SourceError("the source went away")

    def compare() -> None:
        with database.connect() as connection, compared(connection, "/root", listing()) as steps:
            list(steps)

    with database.connect() as other, ThreadPoolExecutor(1) as pool:
        with other.transaction():
            other.execute("LOCK TABLE source_files IN ACCESS EXCLUSIVE MODE")
            failed = pool.submit(compare).exception(timeout=20)
        assert str(failed) == "the source went away"


def write(path: Path, text: str) -> None:
    """Write a file that changed long ago, so that the scan does not look at it twice."""
    path.write_text(text)
    os.utime(path, (1_000_000, 1_000_000))


@pytest.mark.parametrize("blocks", [1, FEW_BLOCKS + 2])
def test_a_scan_finds_each_change_in_many_blocks(database: Database, tmp_path: Path, blocks: int) -> None:
    """In each block a file is changed, one is deleted, one comes back and one is new; and behind the last one."""
    count = blocks * manifest.BLOCK_FILES
    for number in range(count):
        write(tmp_path / f"{number:06}.txt", "x")
    source = open_source(str(tmp_path))
    assert scan(database, source, ScanOptions()).new == count
    starts = range(0, count, manifest.BLOCK_FILES)
    for start in starts:
        (tmp_path / f"{start + 3:06}.txt").unlink()
    assert scan(database, source, ScanOptions()).deleted == blocks
    with database.connect() as connection:
        connection.execute("UPDATE source_files SET status = CASE WHEN gone THEN 'deleted' ELSE 'loaded' END")
    assert scan(database, source, ScanOptions()).unchanged == count - blocks
    for start in starts:
        write(tmp_path / f"{start + 3:06}.txt", "back")
        write(tmp_path / f"{start + 5:06}.txt", "changed")
        (tmp_path / f"{start + 7:06}.txt").unlink()
        write(tmp_path / f"{start + 9:06} new.txt", "new")
    write(tmp_path / "z.txt", "new")
    found = scan(database, source, ScanOptions())
    assert (found.new, found.changed, found.deleted) == (2 * blocks + 1, blocks, blocks)
    assert found.unchanged == count - 3 * blocks
    found = scan(database, source, ScanOptions())
    assert (found.new, found.changed, found.deleted, found.unchanged) == (0, 0, 0, count + 1)
