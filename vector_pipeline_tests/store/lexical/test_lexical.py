"""Ranking by words: exactly BM25, found at once, and whole whatever happens to loads and merges."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.lexical import maintenance
from vector_pipeline.store.lexical.landing import land_terms
from vector_pipeline.store.lexical.maintenance import has_backlog, maintain_lexical, worth_merging
from vector_pipeline.store.lexical.ranking import WordRanking, rank_words
from vector_pipeline.store.lexical.segments import (
    MERGED_BYTES,
    Segment,
    TextsCameBack,
    flush_landing,
    list_segments,
    merge_segments,
)
from vector_pipeline.text.terms import frequencies
from vector_pipeline_tests.support.corpus import hash_of, load, scalar

WORDS = [f"word{i}x" for i in range(60)] + ["연차", "휴가를", "회원은", "東京", "err-4012"]


def corpus(count: int, seed: int = 1) -> list[str]:
    source = random.Random(seed)
    weights = [1 / (i + 1) for i in range(len(WORDS))]
    return [" ".join([*source.choices(WORDS, weights, k=source.randint(3, 60)), f"n{seed}x{i}"]) for i in range(count)]


def bm25(texts: Sequence[str], terms: Sequence[str]) -> dict[bytes, float]:
    """The textbook's formula, text by text."""
    cut = {hash_of(text): frequencies(text) for text in texts}
    mean = sum(sum(f.values()) for f in cut.values()) / len(cut)
    found = dict.fromkeys(cut, 0.0)
    for term in terms:
        holding = sum(term in f for f in cut.values())
        idf = math.log(1 + (len(cut) - holding + 0.5) / (holding + 0.5))
        for key, f in cut.items():
            tf = f.get(term, 0)
            found[key] += idf * tf / (tf + 1.2 * (0.25 + 0.75 * sum(f.values()) / mean))
    return {key: score for key, score in found.items() if score}


@contextmanager
def ranking(connection: Connection, *terms: str) -> Iterator[WordRanking]:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield rank_words(connection, terms)


def assert_exact(connection: Connection, texts: Sequence[str]) -> None:
    for terms in (
        ["word0x"],
        ["word0x", "word30x", "연차"],
        ["err-4012", "err", "4012"],
        ["none"],
        ["word1x", "word2x"],
    ):
        expected = bm25(texts, terms)
        with ranking(connection, *terms) as found:
            best = dict(found.best(len(texts)))
            assert best == pytest.approx(expected, rel=1e-4)
            some = [hash_of(text) for text in texts[:20]]
            assert found.of(some) == pytest.approx({key: expected.get(key, 0.0) for key in some}, rel=1e-4)
            top = [score for _, score in found.best(10)]
            assert top == pytest.approx(sorted(expected.values(), reverse=True)[:10], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, MERGED_BYTES])
def test_scores_are_the_textbooks_landed_or_in_segments(
    database: Database, connection: Connection, at_once: int
) -> None:
    texts = corpus(2_400)
    load(connection, "A1", {"a.txt": texts[:1_200]})
    assert_exact(connection, texts[:1_200])
    report = maintain_lexical(database)
    assert report is not None
    assert (report.segments, report.texts, report.landing) == (1, 1_200, 0)
    assert_exact(connection, texts[:1_200])
    # What has just landed is found beside it, and in a second segment.
    load(connection, "A2", {"b.txt": texts[1_200:]})
    assert_exact(connection, texts)
    assert (report := maintain_lexical(database)) is not None
    assert (report.segments, report.landing) == (2, 0)
    assert_exact(connection, texts)
    merge_segments(connection, list_segments(connection), at_once=at_once)
    assert len(list_segments(connection)) == 1
    assert_exact(connection, texts)


def test_few_landed_texts_stay_where_they_are(database: Database, connection: Connection) -> None:
    load(connection, "A1", {"a.txt": corpus(20)})
    assert (report := maintain_lexical(database)) is not None
    assert (report.segments, report.landing) == (0, 20)


def test_a_text_is_cut_once_however_often_it_stands(database: Database, connection: Connection) -> None:
    texts = corpus(1_100)
    load(connection, "A1", {"a.txt": texts})
    load(connection, "A1", {"b.txt": texts})
    assert scalar(connection, "SELECT count(*) FROM lexical_landing") == 1_100
    maintain_lexical(database)
    load(connection, "A2", {"c.txt": texts})
    assert scalar(connection, "SELECT count(*) FROM lexical_landing") == 0


def test_an_edit_lands_one_text(connection: Connection) -> None:
    texts = corpus(100)
    load(connection, "A1", {"a.txt": texts})
    load(connection, "A2", {"a.txt": [*texts[:50], "something else", *texts[51:]]}, "2")
    assert scalar(connection, "SELECT count(*) FROM lexical_landing") == 101


@pytest.mark.slow
def test_texts_that_nothing_refers_to_go_with_a_merge(database: Database, connection: Connection) -> None:
    texts = corpus(3_000)
    load(connection, "A1", {"a.txt": texts[:1_500], "b.txt": texts[1_500:]})
    maintain_lexical(database)
    load(connection, "A2", {"b.txt": []}, "2")
    assert (report := maintain_lexical(database)) is not None
    assert (report.merged, report.texts) == (1, 1_500)
    assert_exact(connection, texts[:1_500])


def test_a_merge_gives_way_to_a_load_that_brings_a_text_back(database: Database, connection: Connection) -> None:
    texts = corpus(1_200)
    load(connection, "A1", {"a.txt": texts[:600], "b.txt": texts[600:]})
    maintain_lexical(database)
    load(connection, "A2", {"b.txt": []}, "2")
    # The merge has seen which texts are referred to, and waits while the load goes by.
    connection.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END'"
    )
    connection.execute("CREATE TRIGGER wait BEFORE INSERT ON lexical_segments FOR EACH ROW EXECUTE FUNCTION wait()")
    with database.connect() as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT pg_advisory_lock(1)")
        merge = pool.submit(merge_segments, connection, list_segments(connection))
        waiting = (
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
        )
        while not scalar(other, waiting):
            time.sleep(0.01)
        assert load(other, "A3", {"b.txt": texts[600:]}, "3").written == 600
        other.execute("SELECT pg_advisory_unlock(1)")
        with pytest.raises(TextsCameBack):
            merge.result()
    assert_exact(connection, texts)


def test_a_text_that_two_loads_brought_at_once_is_ranked_once(connection: Connection) -> None:
    texts = corpus(1_200)
    load(connection, "A1", {"a.txt": texts})
    flush_landing(connection)
    # As if the second load had looked before the first was flushed.
    connection.execute("ALTER TABLE lexical_texts RENAME TO hidden")
    connection.execute("CREATE TABLE lexical_texts (LIKE hidden)")
    land_terms(connection, {hash_of(texts[0]): texts[0]})
    connection.execute("DROP TABLE lexical_texts")
    connection.execute("ALTER TABLE hidden RENAME TO lexical_texts")
    with ranking(connection, "n1x0") as found:
        assert [key for key, _ in found.best(10)] == [hash_of(texts[0])]
    assert flush_landing(connection) == 1
    assert_exact(connection, texts)


@pytest.mark.slow
def test_chunks_from_before_the_index_are_cut_by_the_next_run(database: Database, connection: Connection) -> None:
    texts = corpus(2_500)
    load(connection, "A1", {"a.txt": texts})
    connection.execute("TRUNCATE lexical_landing")
    connection.execute("INSERT INTO lexical_backlog VALUES ('00000000-0000-0000-0000-000000000000')")
    # Killed after the first thousand, the next one goes on from there.
    maintenance._cut_some(connection, maintenance.FIRST)
    assert has_backlog(connection)
    assert scalar(connection, "SELECT count(*) FROM lexical_landing") == 1_000
    assert (report := maintain_lexical(database)) is not None
    assert (report.cut, report.texts) == (1_500, 2_500)
    assert not has_backlog(connection)
    assert_exact(connection, texts)


def test_a_flush_that_fails_leaves_everything_as_it_was(connection: Connection) -> None:
    texts = corpus(1_200)
    load(connection, "A1", {"a.txt": texts})
    connection.execute("ALTER TABLE lexical_postings ADD CONSTRAINT no CHECK (term <> 'word5x')")
    with pytest.raises(psycopg.errors.CheckViolation):
        flush_landing(connection)
    assert list_segments(connection) == []
    assert_exact(connection, texts)


@pytest.mark.parametrize(
    ("sizes", "merged"),
    [
        ([], []),
        ([1_000] * 3, []),
        ([1_000] * 4, [1_000] * 4),
        ([1_000_000, *[1_000] * 3], []),
        ([1_000_000, *[1_000] * 4], [1_000] * 4),
        ([50_000] * 20, [50_000] * 20),
        ([9_000_000, 9_000_000, 9_000_000, 9_000_000], []),
    ],
)
def test_segments_of_a_size_are_merged(sizes: list[int], merged: list[int]) -> None:
    found = worth_merging([Segment(key, texts, texts) for key, texts in enumerate(sizes)])
    assert [segment.texts for segment in found] == merged
