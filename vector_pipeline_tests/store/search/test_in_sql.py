"""Search in SQL: the same terms, the same scores and the same answers as through the package."""

from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from vector_pipeline.store.connection import Connection, Database
from vector_pipeline.store.lexical.maintenance import maintain_lexical
from vector_pipeline.store.search.by_words import WordSearch
from vector_pipeline.store.search.filters import Filter, Passing
from vector_pipeline.store.search.hybrid import Mode, Question, search
from vector_pipeline.text.terms import frequencies, has_phrase, parse_query, terms_of_phrase
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


# Of letters that fold into several ones, Postgres knows the sharp s.
PHRASED = "aeingsyABsS01._-' ,éÉßẞΣσςЖж가나각東京カへไทยขຂ。ﬁ①"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.text(PHRASED, max_size=30), st.text(PHRASED, max_size=4), st.integers(0, 30), st.integers(1, 12))
def test_a_phrase_is_in_the_same_texts_in_sql(
    connection: Connection, text: str, other: str, start: int, length: int
) -> None:
    for phrase in (other, text[start : start + length], text[start : start + length].upper()):
        assume("ssss" not in phrase.casefold())
        rows = connection.execute(
            'SELECT normalize(%s::text, NFKC) COLLATE "C" ~ pattern, terms FROM lexical_phrases(%s)',
            (text, f'"{phrase}"'),
        ).fetchall()
        assert len(rows) == len(parse_query(f'"{phrase}"').phrases)
        for matches, terms in rows:
            assert matches == has_phrase(text, phrase)
            assert set(terms) == terms_of_phrase(phrase)


SENTENCES = [
    "The quick brown fox jumps over the lazy dog",
    "The brown quick fox, and the dog: lazy over jumps",
    "quick\n\nBROWN -- fox; error ERR-4012 in module_name.py",
    "ERR 4012 happened, 4012 ERR did not; quickbrown",
    "회원은 누구나 여름휴가를 쓴다. 연차휴가 규정",
    "여름휴가를 누구나 쓴다, 회원은 아니다. 규정 연차휴가",
    "東京都の天気は晴れです。京都の東は雨です",
    "京都府の東京タワー、カタカナの東京都",
    "ประเทศไทยมีอาหารอร่อย และไทยประเทศ",
    "Die Straße in ÉCOLE und GROẞE Straßen",
    "die STRASSE, die école; grosse",
    "Ελλάδα ΣΟΦΟΣ σοφός, Жук и ЖУК",
    "API회사 규정 v1.13.27",
    "회사API 규정 v1 13 28",
]
PHRASES = [
    '"quick brown"',
    '"brown quick"',
    '"quick bro"',
    '"QUICK, brown" fox',
    'fox "over the lazy"',
    '"ERR-4012"',
    '"err 4012"',
    '"4012 err"',
    '"누구나 여름휴가"',
    '"여름휴가를 누구나"',
    '"휴가 규정"',
    '"규정 연차"',
    '"차"',
    '"東京都"',
    '"京都の東"',
    '"カタカナ"',
    '"ไทยมี"',
    '"อาหารอร่อย"',
    '"ประเทศไทย" "อร่อย"',
    '"straße in école"',
    '"die strasse"',
    '"große straßen"',
    '"σοφος σοφός"',
    '"жук и жук"',
    '"api회사"',
    '"회사 api"',
    '"회사api"',
    '"v1.13.27"',
    '"v1 13"',
    '"module_name.py"',
    '"quick brown" "lazy dog"',
    '"quick brown" "dog lazy"',
    '"quick brown" and "unbalanced',
    '"quick brown"fox"',
    '"fox\njumps"',
    '"no text has this"',
    '"the fox quick"',
    '"..." quick',
    '"" brown',
    "'quick' \"%s $1 \\ [a-z]+ (.*)\"",
]
LIMITS = [
    (Filter(), ""),
    (Filter(source="a/*"), ", in_source => 'a/%%'"),
    (Filter(root="/none"), ", in_root => '/none'"),
]


@pytest.mark.parametrize("landed", [True, False])
def test_phrases_find_the_same_texts_in_sql(database: Database, connection: Connection, landed: bool) -> None:
    load(connection, "A1", {"a/one.txt": SENTENCES[::2], "b/two.txt": SENTENCES[1::2]})
    if not landed:
        maintain_lexical(database)
    vector = vectors_of(["anything"])[0]
    columns = "SELECT source, page_content, score, distance FROM search_chunks"
    for text in PHRASES:
        # With a vector, other texts are found if none contains the phrase.
        modes: list[tuple[Mode, object]] = [("words", None)]
        if parse_query(text).phrases:
            modes.append(("auto", vector))
        for mode, given_vector in modes:
            for limits, arguments in LIMITS:
                found = [
                    (r.source, r.page_content, r.score, r.distance)
                    for r in search(connection, Question(text, 10, mode, limits), lambda _: vector)
                ]
                rows = connection.execute(f"{columns}(%s, %s, 10{arguments})".encode(), (text, given_vector)).fetchall()
                assert [row[:2] for row in rows] == [row[:2] for row in found], (text, mode, arguments)
                for row, result in zip(rows, found, strict=True):
                    assert row[2:] == pytest.approx(result[2:], abs=1e-5)


def test_a_long_phrase_is_looked_for_in_sql(connection: Connection) -> None:
    text = " ".join(f"Word{i} 낱말{i} ÉTÉ" for i in range(200))
    load(connection, "A1", {"a.txt": [text, "another text"]})
    for phrase, count in ((text.lower(), 1), (f"{text[:2_000]} Word1", 0)):
        row = connection.execute("SELECT count(*) FROM search_chunks(%s, NULL, 5)", (f'"{phrase}"',)).fetchone()
        assert row == (count,)


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


QUESTIONS = [
    "word3x word20x of them",  # medium
    "word0x word1x word2x",  # common ones alone
    "word0x word30x word39x n77",  # common, rare, and in one text
    "연차휴가 word1x running",
    " ".join(WORDS[:30]),
    "n5 n1100",
    "none of these",
]


@pytest.mark.parametrize("loads", [1, 3])
def test_both_are_searched_alike_in_sql(database: Database, connection: Connection, loads: int) -> None:
    texts = corpus(1_800)
    for number in range(loads):
        part = texts[number * 600 :] if number == loads - 1 else texts[number * 600 : number * 600 + 600]
        load(connection, f"A{number}", {f"a/{number}.txt": part[::2], f"b/{number}.txt": part[1::2]})
        if number < 2:
            maintain_lexical(database)
    vector = vectors_of(["word3x word20x"])[0]
    columns = "SELECT root, source, page_content, score, distance FROM search_chunks"
    limited = [
        (Filter(), ""),
        (Filter(source="a/*"), ", in_source => 'a/%%'"),
        (Filter(root="/corpus"), ", in_root => '/corpus'"),
        (Filter(root="/none"), ", in_root => '/none'"),
    ]
    modes: list[tuple[Mode, object]] = [("hybrid", vector), ("words", None)]
    for (limits, arguments), (mode, given_vector), text in product(limited, modes, QUESTIONS):
        found = [
            (r.root, r.source, r.page_content, r.score, r.distance)
            for r in search(connection, Question(text, 10, mode, limits), lambda _: vector)
        ]
        rows = connection.execute(f"{columns}(%s, %s, 10{arguments})".encode(), (text, given_vector)).fetchall()
        # Texts whose scores are equal but for rounding may change places.
        assert [row[3] for row in rows] == pytest.approx([result[3] for result in found], abs=1e-5)
        assert {row[2] for row in rows if row[3] > rows[-1][3] + 1e-5} == {
            r[2] for r in found if r[3] > found[-1][3] + 1e-5
        }
        by_text = {result[2]: result for result in found}
        for row in rows:
            result = by_text.get(row[2], row)
            assert row[:2] == result[:2]
            assert row[4] == pytest.approx(result[4], abs=1e-5)


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
