"""Answers in files: no broken one stops a run, and there is room for those that are under way."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from psycopg import sql

from vector_pipeline.embedding.roles import Role, name_before_vectors
from vector_pipeline.embedding.values import Answer
from vector_pipeline.errors import DatabaseError, StorageError
from vector_pipeline.settings import Settings
from vector_pipeline.stages.embeddings.answer_store import store_spilled
from vector_pipeline.stages.embeddings.spills import Reserve, folder_of, read_spilled, remove_abandoned, spilled_files
from vector_pipeline.store import vectors
from vector_pipeline.store.space import active_space
from vector_pipeline.store.spaces import start_space
from vector_pipeline_tests.support.asking import many
from vector_pipeline_tests.support.disks import fill, small_file_system
from vector_pipeline_tests.support.openai_server import serve
from vector_pipeline_tests.support.plans import embed, missing, opened

pytestmark = pytest.mark.slow

SPACE = "text-embedding-3-small"
"""The model's name, as before its first answer."""
KEYS = np.frombuffer(b"".join(i.content_hash for i in many(2)), dtype="V16")
GOOD = np.ones((2, 1_536), dtype=np.float32)

BROKEN: dict[str, dict[str, Any]] = {
    "one dimension": {"vectors": GOOD[0]},
    "too few": {"vectors": GOOD[:1]},
    "NaN": {"vectors": GOOD * np.float32("nan")},
    "zeros": {"vectors": GOOD * 0},
    "strings": {"vectors": np.array([["a"] * 1_536] * 2)},
    "objects": {"vectors": np.array([[None] * 1_536] * 2, dtype=object)},
    "doubles": {"vectors": GOOD.astype(np.float64)},
    "many tokens": {"tokens": np.array([1, 2])},
    "negative tokens": {"tokens": np.int64(-1)},
    "short hashes": {"hashes": np.frombuffer(b"12345678" * 2, dtype="V8")},
    "hashes of numbers": {"hashes": np.arange(2)},
    "no vectors": {"vectors": None},
    "none at all": {"hashes": KEYS[:0], "vectors": GOOD[:0]},
}


def test_answers_from_before_the_first_space_are_stored_in_one_of_their_prefix(
    tmp_path: Path, fresh_database_url: str
) -> None:
    role = Role("passage: ")
    for name in (SPACE, name_before_vectors(SPACE, role)):
        with serve() as server, opened(tmp_path, fresh_database_url, server, document_prefix="passage: ") as pipeline:
            folder = folder_of(pipeline.settings) / quote(name, safe="")
            folder.mkdir(parents=True)
            np.savez(folder / "kept.npz", hashes=KEYS, vectors=GOOD, tokens=np.int64(7))
            with pipeline.database.connect() as connection:
                assert active_space(connection) is None
            store_spilled(pipeline, lambda _: None)
            with pipeline.database.connect() as connection:
                space = active_space(connection)
            # Those without a prefix stay in their file.
            assert (space is None) == (name == SPACE)
            assert space is None or space.document_prefix == "passage: "


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_set_aside_and_the_others_are_stored(
    tmp_path: Path, fresh_database_url: str, fault: str
) -> None:
    with serve() as server, opened(tmp_path, fresh_database_url, server) as pipeline:
        folder = folder_of(pipeline.settings) / SPACE
        folder.mkdir(parents=True)
        arrays: dict[str, Any] = {"hashes": KEYS, "vectors": GOOD, "tokens": np.int64(7)}
        np.savez(folder / "b good.npz", **arrays)
        np.savez(folder / "a broken.npz", **{k: v for k, v in {**arrays, **BROKEN[fault]}.items() if v is not None})
        embed(pipeline, many(5))
        assert server.seen.billed.total() == 3
        assert missing(pipeline, many(5)) == 0
        assert [path.name for path in folder.iterdir()] == ["a broken.npz.unreadable"]


def test_a_pipe_is_set_aside(tmp_path: Path, fresh_database_url: str) -> None:
    with serve() as server, opened(tmp_path, fresh_database_url, server) as pipeline:
        folder = folder_of(pipeline.settings) / SPACE
        folder.mkdir(parents=True)
        os.mkfifo(folder / "a pipe.npz")
        assert embed(pipeline, many(5)).stored == 5
        assert [path.name for path in folder.iterdir()] == ["a pipe.npz.unreadable"]


def test_a_file_that_may_not_be_read_is_left(tmp_path: Path, fresh_database_url: str) -> None:
    with serve() as server, opened(tmp_path, fresh_database_url, server) as pipeline:
        folder = folder_of(pipeline.settings) / SPACE
        folder.mkdir(parents=True)
        (folder / "a folder.npz").mkdir()
        assert embed(pipeline, many(5)).stored == 5
        assert (folder / "a folder.npz").exists()


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [(SPACE, 512), ("text_embedding_3_small_1536", 512), ("dropped_8", 8), ("another/model", 1_536)],
)
def test_answers_that_fit_no_space_are_kept_and_named_once(
    tmp_path: Path, fresh_database_url: str, name: str, dimensions: int
) -> None:
    with serve() as server, opened(tmp_path, fresh_database_url, server) as pipeline:
        embed(pipeline, many(1))
        folder = folder_of(pipeline.settings) / quote(name, safe="")
        folder.mkdir(parents=True)
        for number in range(2):
            np.savez(
                folder / f"{number}.npz", hashes=KEYS, vectors=GOOD[:, :1].repeat(dimensions, 1), tokens=np.int64(7)
            )
        lines: list[str] = []
        store_spilled(pipeline, lines.append)
        (line,) = lines
        assert line.startswith(f"2 paid answers in {folder} cannot be stored: ")
        assert f"no space is of {name} with {dimensions:,} dimensions" in line
        assert len(list(folder.iterdir())) == 2


def test_answers_of_other_dimensions_are_stored_once_the_space_that_the_line_names_is_started(
    tmp_path: Path, fresh_database_url: str
) -> None:
    with serve() as server, opened(tmp_path, fresh_database_url, server) as pipeline:
        embed(pipeline, many(1))
        folder = folder_of(pipeline.settings) / SPACE
        folder.mkdir(parents=True)
        np.savez(folder / "kept.npz", hashes=KEYS, vectors=GOOD[:, :512], tokens=np.int64(7))
        with pipeline.database.connect() as connection:
            space = start_space(connection, SPACE, 512)
        store_spilled(pipeline, lambda _: None)
        with pipeline.database.connect() as connection:
            assert vectors.missing(connection, space, [bytes(key) for key in KEYS]) == set()
        assert list(folder.iterdir()) == []


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_nothing_is_sent_that_could_not_be_kept(tmp_path: Path, fresh_database_url: str) -> None:
    with serve() as server, opened(tmp_path, fresh_database_url, server) as pipeline:
        with small_files(100_000), pytest.raises(StorageError, match=r"no room .* nothing more is sent"):
            embed(pipeline, many(20))
        assert server.seen.requests == 0
        assert embed(pipeline, many(20)).stored == 20
        assert list(folder_of(pipeline.settings).rglob("*")) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    with small_file_system(tmp_path / "disk") as place:
        yield place


def test_what_is_under_way_is_kept_once_the_disk_is_full(small_disk: Path) -> None:
    settings = Settings.of(home=small_disk)
    asked = many(100)
    answer = Answer(asked, np.ones((100, 1_536), dtype=np.float32), 700, "m")
    with Reserve(settings, "a space", 1_536) as reserve:
        for _ in range(4):
            reserve.hold(100)
        fill(small_disk / "filler")
        with pytest.raises(StorageError, match="No space left"):
            reserve.hold(100)
        for _ in range(4):
            reserve.write(answer)
        (small_disk / "a message").write_bytes(bytes(1 << 18))
    kept = [read_spilled(path) for path in spilled_files(settings)]
    assert len(kept) == 4
    assert all(found.hashes == [i.content_hash for i in asked] and found.tokens == 700 for found in kept)
    assert not list(small_disk.rglob("*.partial"))


def test_room_is_held_once_for_answers_that_come_one_after_another(tmp_path: Path) -> None:
    settings = Settings.of(home=tmp_path)
    with Reserve(settings, "a space", 256) as reserve:
        for _ in range(50):
            reserve.hold(10)
            reserve.hold(10)
            reserve.release(10)
            reserve.release(10)
        assert len(list(folder_of(settings).rglob("*.partial"))) <= 2
    assert not folder_of(settings).exists()


def test_the_room_of_a_killed_run_is_freed_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    settings = Settings.of(home=tmp_path)
    with Reserve(settings, "a space", 256) as live:
        live.hold(10)
        abandoned = folder_of(settings) / "a%20space" / "of a killed run.partial"
        abandoned.write_bytes(b"0")
        remove_abandoned(settings)
        assert not abandoned.exists()
        assert len(list(folder_of(settings).rglob("*.partial"))) == 1


def test_nothing_new_is_sent_from_the_first_answer_that_cannot_be_stored(
    tmp_path: Path, fresh_database_url: str
) -> None:
    """Postgres takes nothing: what was sent until its first refusal is all that is paid."""
    with (
        serve() as server,
        opened(tmp_path, fresh_database_url, server, max_in_flight=4, retry_seconds=1.0) as pipeline,
    ):
        embed(pipeline, many(1))
        with pipeline.database.connect() as connection:
            space = active_space(connection)
            assert space is not None
            landing = sql.Identifier(space.landing)
            refuse = sql.SQL("ALTER TABLE {} ADD CONSTRAINT none CHECK (false) NOT VALID")
            connection.execute(refuse.format(landing))
            with pytest.raises(DatabaseError, match="kept in"):
                embed(pipeline, many(400, 1), per_request=4)
            assert server.seen.requests <= 1 + 4 + 6
            connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT none").format(landing))
        embed(pipeline, many(400, 1))
        assert missing(pipeline, many(401)) == 0
        assert server.seen.billed.total() == 401
