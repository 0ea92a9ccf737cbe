"""Connections of a run come back by themselves, and what is done again is done once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from vector_pipeline.errors import DatabaseError, DatabaseUnavailable
from vector_pipeline.stages.load import load_chunks
from vector_pipeline.stages.streams import ChunkRow
from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.kept import Kept, repeated
from vector_pipeline.store.run_locks import RunLocks
from vector_pipeline_tests.support.corpus import embed, hash_of, key_of, load, own, scalar
from vector_pipeline_tests.support.proxy import Fate, Proxy, proxy_to

pytestmark = pytest.mark.slow

TEXTS = [f"text {n}, and some more words" for n in range(40)]


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with proxy_to(database.url) as running:
        yield running


def _rows() -> list[ChunkRow]:
    return [
        ChunkRow(key_of("a.txt"), "a.txt", "1", "utf-8", "a.txt", text, "{}", n, n * 100, n * 100 + 9, 5, hash_of(text))
        for n, text in enumerate(TEXTS)
    ]


def _first(condition: Callable[[bytes], bool], fate: Fate) -> Callable[[bytes], Fate]:
    """The fate of the first bytes that fulfil a condition."""
    done = threading.Event()

    def judge(data: bytes) -> Fate:
        if done.is_set() or not condition(data):
            return "pass"
        done.set()
        return fate

    return judge


def _is_copy_of_rows(data: bytes) -> bool:
    return b"and some more words" in data and b"PGCOPY" in data


def _is_commit(data: bytes) -> bool:
    return b"COMMIT" in data


@pytest.mark.parametrize(
    ("condition", "fate"),
    [(_is_copy_of_rows, "cut"), (_is_copy_of_rows, "cut after"), (_is_commit, "cut"), (_is_commit, "cut after")],
    ids=["before COPY", "within COPY", "before COMMIT", "after COMMIT, without its answer"],
)
def test_a_load_that_is_cut_off_is_done_again_and_has_each_row_once(
    database: Database, connection: Connection, proxy: Proxy, condition: Callable[[bytes], bool], fate: Fate
) -> None:
    own(connection, "A1", ["a.txt"])
    embed(connection, TEXTS)
    proxy.judge = _first(condition, fate)
    result = load_chunks(
        Database(proxy.url, retry_seconds=30), "A1", _rows(), fingerprint_of=lambda _: "p1", rows_per_batch=100
    )
    assert (result.loaded, result.rows, result.pending) == (1, 40, {})
    assert scalar(connection, "SELECT count(*) FROM document_chunks") == 40
    assert scalar(connection, "SELECT status FROM source_files") == "loaded"


def test_a_deletion_whose_commit_got_no_answer_is_counted(
    database: Database, connection: Connection, proxy: Proxy
) -> None:
    load(connection, "A1", {"a.txt": TEXTS})
    own(connection, "A2", ["a.txt"], gone=True)
    proxy.judge = _first(_is_commit, "cut after")
    result = load_chunks(Database(proxy.url, retry_seconds=30), "A2", [], fingerprint_of=lambda _: "p1")
    assert result.deleted == 1
    assert scalar(connection, "SELECT count(*) FROM document_chunks") == 0


def test_work_waits_for_a_server_that_restarts(proxy: Proxy) -> None:
    database = Database(proxy.url, retry_seconds=30)
    said: list[str] = []
    with Kept(database, "test", log=said.append) as kept:
        assert kept.run(lambda connection: scalar(connection, "SELECT 1")) == 1
        with proxy.away():
            threading.Timer(1.0, lambda: setattr(proxy, "refusing", False)).start()
            assert kept.run(lambda connection: scalar(connection, "SELECT 2")) == 2
    assert said == ["Postgres is away; what was being done is done again once it is back"]


def test_it_does_not_wait_longer_than_it_may(proxy: Proxy) -> None:
    database = Database(proxy.url, retry_seconds=1)
    began = time.monotonic()
    with proxy.away(), pytest.raises(DatabaseUnavailable, match="does not answer"):
        repeated(database, "test", lambda connection: connection.execute("SELECT 1"))
    assert time.monotonic() - began < 10


def test_what_does_not_pass_is_not_tried_again(database: Database) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> None:
        tries.append(1)
        connection.execute("SELECT * FROM nowhere")

    with pytest.raises(DatabaseError, match="nowhere"):
        repeated(database, "test", work)
    assert len(tries) == 1


def test_what_a_connection_needs_is_made_on_each_one(proxy: Proxy) -> None:
    def prepare(connection: Connection) -> None:
        connection.execute("SELECT set_config('vector_pipeline.test', 'prepared', false)")

    with Kept(Database(proxy.url, retry_seconds=30), "test", prepare=prepare) as kept:
        for _ in range(2):
            setting = kept.run(lambda connection: scalar(connection, "SHOW vector_pipeline.test"))
            assert setting == "prepared"
            proxy.cut()


def test_a_run_takes_an_arrival_though_its_connection_was_lost(
    database: Database, connection: Connection, proxy: Proxy
) -> None:
    own(connection, "A1", ["a.txt"])
    with RunLocks(Database(proxy.url, retry_seconds=30), "run", look_every_seconds=60) as locks:
        proxy.cut()
        assert locks.hold_arrival("A1") is False
        # Other tests hold locks in their own databases on the same server.
        locked = scalar(
            connection,
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND d.datname = current_database()",
        )
        assert locked == 1
        assert locks.owner("A1").number == 1
