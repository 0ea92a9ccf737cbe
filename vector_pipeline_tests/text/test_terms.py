"""Terms: what a question and a text have to agree on to find each other."""

from __future__ import annotations

import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.text import terms
from vector_pipeline.text.terms import (
    MAX_TERM_CHARACTERS,
    frequencies,
    has_phrase,
    parse_query,
    stem,
    terms_of_phrase,
)

HANGUL = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1, max_size=12)
WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ERR-4012", {"err-4012", "err", "4012"}),
        ("v1.13.27에서", {"v1.13.27", "v1", "13", "27", "에서"}),
        ("snake_case", {"snake_case", "snak", "cas"}),
        ("camelCase", {"camelcas", "camel", "cas"}),
        ("HTTPServer", {"httpserver", "http", "server"}),
        ("STRASSE Straße ﬁne", {"strass", "fin"}),
        ("여름휴가를", {"여름", "름휴", "휴가", "가를"}),
        ("물", {"물"}),
        ("東京へ行く", {"東京", "京へ", "へ行", "行く"}),
        ("ไทยแลนด์", {"ไทย", "ทยแ", "ยแล", "แลน", "ลนด", "นด์"}),
        ("Überraschung, naïve café", {"überraschung", "naïve", "café"}),
        ("… — !!! \N{GRINNING FACE} '\"", set()),
        ("", set()),
    ],
)
def test_text_is_cut_as_documented(text: str, expected: set[str]) -> None:
    assert frequencies(text).keys() == expected


@given(st.text())
def test_any_text_gives_bounded_terms_and_normal_forms_do_not_matter(text: str) -> None:
    found = frequencies(text)
    assert all(1 <= len(term) <= MAX_TERM_CHARACTERS * 3 for term in found)
    assert all(count >= 1 for count in found.values())
    assert frequencies(unicodedata.normalize("NFD", text)) == frequencies(unicodedata.normalize("NFC", text))


@given(HANGUL, HANGUL)
def test_every_bigram_of_korean_is_found_whatever_particle_follows(word: str, particle: str) -> None:
    found = frequencies(f"앞 {word}{particle} 뒤")
    assert {"".join(pair) for pair in pairwise(word)} <= found.keys()


@given(st.lists(WORDS, min_size=1), WORDS)
def test_counts_add_up_over_white_space(words: list[str], other: str) -> None:
    alone, both = frequencies(" ".join(words)), frequencies(" ".join([*words, other]))
    assert sum(both.values()) == sum(alone.values()) + sum(frequencies(other).values())


@given(st.lists(WORDS, min_size=3, max_size=12), st.data())
def test_a_phrase_is_found_where_its_words_stand_in_order(words: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(words) - 1))
    stop = data.draw(st.integers(start + 1, len(words)))
    assert has_phrase(",  ".join(words).upper(), "\n".join(words[start:stop]))


def test_a_phrase_is_not_found_where_its_words_stand_otherwise() -> None:
    text = "The quick brown fox; 회원은 누구나 여름휴가를 쓴다."
    assert has_phrase(text, "quick brown")
    assert not has_phrase(text, "brown quick")
    assert not has_phrase(text, "quick bro")
    assert has_phrase(text, "누구나 여름휴가")  # a particle may follow
    assert not has_phrase(text, "여름휴가 누구나")


@pytest.mark.parametrize(
    ("question", "exact", "phrases"),
    [
        ("ERR-4012", True, ()),
        ("연차", True, ()),
        ('who said "exact words" here', True, ("exact words",)),
        ("how many days of leave", False, ()),
        ('an unbalanced " quote', False, ()),
        ('"" empty', False, ()),
        ('"..." signs', False, ()),
        ("!!!", False, ()),
        ("", False, ()),
        ("'; DROP TABLE chunks; --", False, ()),
    ],
)
def test_what_a_question_asks_for(question: str, exact: bool, phrases: tuple[str, ...]) -> None:
    query = parse_query(question)
    assert (query.exact, query.phrases) == (exact, phrases)


@pytest.mark.parametrize("word", ["running", "runs", "run"])
def test_endings_are_taken_off(word: str) -> None:
    assert stem(word) == "run"


@given(st.from_regex("[a-z]{4,24}", fullmatch=True))
def test_a_stem_is_a_beginning_of_its_word_but_for_a_last_letter(word: str) -> None:
    found = stem(word)
    assert found
    assert word.startswith(found) or (found[-1] == "i" and word.startswith(found[:-1]))


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["a", "aB", "a-", "a.", "가", "ไ", "é", '"', "_", "a가"])
def test_a_text_without_a_break_is_cut_in_time_linear_to_its_length(unit: str) -> None:
    def seconds(length: int) -> float:
        began = time.process_time()
        frequencies(unit * length)
        return time.process_time() - began

    seconds(1_000)
    assert seconds(800_000) < 16 * max(seconds(100_000), 0.02)


# One sign each of what is split otherwise: cases and endings, joints, scripts, separators.
PHRASED = "aeingsdyABsS01._-' ,éßΣжЖ가나각東京カไทยขຂ。ﬁ①"


@given(st.text(PHRASED, max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_a_text_with_a_phrase_has_its_terms(text: str, start: int, length: int) -> None:
    for phrase in (text, text[start : start + length], text.upper(), "Err_4012"):
        assert has_phrase(text, phrase) == (terms._in_order(phrase, phrase=True) in terms._in_order(text, phrase=False))
        if has_phrase(text, phrase):
            assert terms_of_phrase(phrase) <= frequencies(text).keys()


def test_a_phrase_shorter_than_an_n_gram_requires_no_term() -> None:
    assert has_phrase("연차휴가", "차")
    assert terms_of_phrase("차") == set()
    assert terms_of_phrase("연차휴가 규정") == {"연차", "차휴", "휴가", "규정"}
    assert terms_of_phrase("ERR-4012 failed") == {"err", "4012", "fail"}
