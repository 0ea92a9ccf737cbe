"""Search in SQL: the same terms, the same scores and the same answers as through the package."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.lexical.maintenance import maintain_lexical
from vector_pipeline.store.search.by_words import WordSearch
from vector_pipeline.store.search.filters import Filter, Passing
from vector_pipeline.store.search.hybrid import Question, search
from vector_pipeline.text.terms import frequencies, parse_query
from vector_pipeline_tests.support.corpus import load, vectors_of

WORDS = [f"word{i}x" for i in range(40)] + ["연차휴가", "회원은", "東京", "err-4012", "running", "queues"]
# One sign each of what is cut otherwise: cases and endings, joints, scripts, separators.
ALPHABET = "abcdeginsyABCdSZ019._-'\" {}%$\\éÉßΣσЖж가나각東京カへไทยขຂ។\N{GRINNING FACE}①ﬁ…—"


def corpus(count: int) -> list[str]:
    source = random.Random(5)
    weights = [1 / (i + 1) for i in range(len(WORDS))]
    return [" ".join([*source.choices(WORDS, weights, k=source.randint(3, 40)), f"n{i}"]) for i in range(count)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.text(ALPHABET, max_size=40))
def test_a_question_is_cut_alike_in_sql(connection: Connection, text: str) -> None:
    row = connection.execute("SELECT lexical_terms(%s)", (text,)).fetchone()
    assert row is not None
    assert sorted(row[0]) == sorted(frequencies(text))


def test_words_are_scored_alike_in_sql(database: Database, connection: Connection) -> None:
    texts = corpus(1_500)
    load(connection, "A1", {"a.txt": texts[:1_200]})
    maintain_lexical(database)
    load(connection, "A2", {"b.txt": texts[1_200:]})
    for question in ("word0x word30x 연차", "err-4012", "word0x word1x", "none at all", "queue"):
        expected = dict(WordSearch(connection, parse_query(question), Passing(Filter(), None)).best(2_000))
        query = "SELECT uuid_send(content_hash), share FROM lexical_shares(lexical_terms(%s), 10000)"
        assert dict(connection.execute(query, (question,)).fetchall()) == pytest.approx(expected, rel=1e-4)
        # Frequent words add to the scores of what the others find, which are the best ones.
        query = "SELECT share FROM lexical_shares(lexical_terms(%s), 10) ORDER BY share DESC LIMIT 5"
        best = sorted(expected.values(), reverse=True)[:5]
        assert [row[0] for row in connection.execute(query, (question,))] == pytest.approx(best, rel=1e-4)


def test_both_are_searched_alike_in_sql(database: Database, connection: Connection) -> None:
    texts = corpus(1_200)
    load(connection, "A1", {"a/one.txt": texts[:600], "b/two.txt": texts[600:]})
    maintain_lexical(database)
    vector = vectors_of(["word3x word20x"])[0]
    columns = "SELECT root, source, page_content, score, distance FROM search_chunks"
    limited = [
        (Filter(), ""),
        (Filter(source="a/*"), ", in_source => 'a/%%'"),
        (Filter(root="/corpus"), ", in_root => '/corpus'"),
        (Filter(root="/none"), ", in_root => '/none'"),
    ]
    for limits, arguments in limited:
        question = Question("word3x word20x of them", 10, "hybrid", limits)
        found = [
            (r.root, r.source, r.page_content, r.score, r.distance)
            for r in search(connection, question, lambda _: vector)
        ]
        rows = connection.execute(f"{columns}(%s, %s, 10{arguments})".encode(), (question.text, vector)).fetchall()
        assert [row[:3] for row in rows] == [row[:3] for row in found]
        for row, result in zip(rows, found, strict=True):
            assert row[3:] == pytest.approx(result[3:], abs=1e-5)


def test_words_alone_are_searched_without_a_vector(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["ERR-4012 is an error", "연차휴가는 열다섯 일", "something else"]})
    for question, text in (("err-4012", "ERR-4012 is an error"), ("연차", "연차휴가는 열다섯 일")):
        rows = connection.execute(
            "SELECT root, page_content, distance FROM search_chunks(%s, NULL, 5)", (question,)
        ).fetchall()
        assert rows == [("/corpus", text, None)]
    assert connection.execute("SELECT * FROM search_chunks('', NULL, 5)").fetchall() == []


def test_the_view_has_the_root(connection: Connection) -> None:
    load(connection, "A1", {"a.txt": ["one"]})
    assert connection.execute("SELECT root, source FROM document_chunks").fetchall() == [("/corpus", "a.txt")]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["", ", in_root => '/corpus'", ", in_source => '%.txt'", """, containing => '{}'"""])
def test_only_chunks_of_texts_that_were_found_are_read(database: Database, connection: Connection, where: str) -> None:
    texts = corpus(20_000)
    load(connection, "A1", {f"{n}.txt": texts[n * 100 : n * 100 + 100] for n in range(200)})
    maintain_lexical(database)
    connection.execute("ANALYZE")
    query = f"SELECT count(*) FROM search_chunks('word20x word30x', NULL, 10{where})"
    with connection.transaction():
        assert connection.execute(query.encode()).fetchone() == (10,)
        read = "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'chunks'::regclass"
        row = connection.execute(read).fetchone()
    assert row is not None
    assert row[0] == 0
    assert row[1] < 2_000
