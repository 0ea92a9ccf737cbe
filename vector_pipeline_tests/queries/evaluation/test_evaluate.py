"""Figures of retrieval: what they are of, and which lines of a golden set they are not of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.queries.evaluation import metrics
from vector_pipeline.queries.evaluation.evaluate import shares_of
from vector_pipeline.queries.evaluation.golden import GoldenQuestion, Problem, language_of, read_golden_set
from vector_pipeline.store.search.results import StandingChunk, joined

SHARES = st.lists(st.floats(0, 1), max_size=10)


def chunks(*texts: str, overlap: int = 0) -> list[StandingChunk]:
    found, start = [], 0
    for index, text in enumerate(texts):
        found.append(StandingChunk("a.txt", index, start, text))
        start += len(text) - overlap
    return found


@given(SHARES)
def test_figures_are_shares_and_the_best_order_is_1(shares: list[float]) -> None:
    best = sorted(shares, reverse=True)
    for figure in (metrics.recall(shares), metrics.reciprocal_rank(shares), metrics.ndcg(shares, best)):
        assert 0 <= figure <= 1
    if any(share > 1e-9 for share in shares):
        assert metrics.ndcg(best, best) == pytest.approx(1)
        assert metrics.reciprocal_rank(best) == 1


def test_the_rank_of_the_answer_counts() -> None:
    assert metrics.reciprocal_rank([0, 0, 0.5]) == pytest.approx(1 / 3)
    assert metrics.ndcg([0, 1], [1]) == pytest.approx(1 / np.log2(3))
    assert metrics.recall([0.25, 0.5]) == 0.75


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_the_mean_lies_in_its_interval(figures: list[float]) -> None:
    found = metrics.interval(figures)
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9


def test_an_answer_is_shared_by_the_chunks_that_it_crosses() -> None:
    shares, error = shares_of(["two three"], chunks("one two ", "three four"))
    assert error is None
    assert shares == pytest.approx({("a.txt", 0): 3 / 8, ("a.txt", 1): 5 / 8})


def test_white_space_does_not_count_and_overlap_counts_on_both_sides() -> None:
    shares, error = shares_of(["b\nc d"], chunks("a b c ", "b c d", overlap=4))
    assert error is None
    assert shares == pytest.approx({("a.txt", 0): 2 / 3, ("a.txt", 1): 1})


def test_a_quotation_may_begin_with_the_mark_of_its_file() -> None:
    assert shares_of(["\ufeffone two"], chunks("one two three"))[1] is None


def test_what_does_not_exist_is_named() -> None:
    assert shares_of(["x"], [])[1] == "nothing is loaded"
    assert shares_of(["absent"], chunks("one"))[1] == "there is no 'absent'"


def test_lines_that_are_no_questions_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl"
    path.write_text(
        '{"question": "Wie viel?", "source": "a.txt", "answer": "so viel"}\n\nno json\n{"question": ""}\n'
        '{"question": "q", "source": "a.txt"}\n["list"]\n'
        '{"question": "연차는?", "document": "b.md", "answers": ["열"]}\n'
        '{"question": "q", "source": "\\u0000", "answers": ["a"]}\n'
        '{"question": "\\ud800", "source": "a", "answers": ["a"]}\n'
        f'{{"question": "q", "source": {"[" * 100_000}{"]" * 100_000}}}\n'
    )
    found = list(read_golden_set(path))
    questions = [line for line in found if isinstance(line, GoldenQuestion)]
    assert [(q.line, q.source, q.answers, q.language) for q in questions] == [
        (1, "a.txt", ("so viel",), "Latin"),
        (7, "b.md", ("열",), "Korean"),
    ]
    assert [line.line for line in found if isinstance(line, Problem)] == [3, 4, 5, 6, 8, 9, 10]


def test_a_golden_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none.jsonl cannot be read \(No such file or directory\); give"):
        list(read_golden_set(tmp_path / "none.jsonl"))


def test_a_line_of_a_golden_set_ends_where_jsonl_says(tmp_path: Path) -> None:
    """JSON may hold what else Unicode calls a line end."""
    path = tmp_path / "golden.jsonl"
    answer = "a\u2028b\x85c"
    path.write_bytes(f'{{"question": "q", "source": "a.txt", "answer": "{answer}"}}\r\n{{"question":}}\n'.encode())
    question, problem = read_golden_set(path)
    assert isinstance(question, GoldenQuestion)
    assert question.answers == (answer,)
    assert problem == Problem(2, "is not JSON (expecting value at column 13)")


def test_languages_are_those_of_the_letters() -> None:
    assert [language_of(t) for t in ("연차 API", "東京へ", "北京", "ไทย", "да", "yes", "123")] == [
        *("Korean", "Japanese", "Chinese", "Thai", "Cyrillic", "Latin", "other"),
    ]


@given(st.text(min_size=1, max_size=200), st.lists(st.integers(1, 20), max_size=10), st.integers(0, 5))
def test_joined_chunks_are_the_text_again(text: str, sizes: list[int], overlap: int) -> None:
    pieces, start = [], 0
    for size in [*sizes, len(text)]:
        piece = text[start : start + size]
        pieces.append((start, piece))
        if start + size >= len(text):
            break
        start += max(1, size - overlap)
    assert joined(pieces) == text
