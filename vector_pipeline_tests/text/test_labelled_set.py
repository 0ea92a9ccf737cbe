"""The labelled set of the benchmarks is sound: nobody else would notice an answer that had gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.chunkers import LANGUAGES, labelled_set


def test_every_answer_is_in_its_document() -> None:
    texts, questions = labelled_set()
    for question in questions:
        assert question.text.strip()
        assert question.ranges
        for start, end in question.ranges:
            assert 0 <= start < end <= len(texts[question.document])
            assert texts[question.document][start:end].strip()


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_documents_that_must_be_cut_and_questions_about_each(language: str) -> None:
    texts, questions = labelled_set()
    documents = {name for name in texts if name.startswith(language + "/")}
    asked = [question for question in questions if question.document in documents]
    assert documents == {question.document for question in asked}
    assert len(asked) >= 50
    assert len({question.text for question in asked}) == len(asked)
    assert sum(len(texts[name]) > 2_000 for name in documents) >= len(documents) / 2


@pytest.mark.parametrize("answer", ["not in there", "twice"])
def test_an_answer_that_does_not_name_one_place_is_refused(tmp_path: Path, answer: str) -> None:
    for language in LANGUAGES:
        (tmp_path / language).mkdir()
    (tmp_path / "en" / "a.txt").write_text("once, twice, twice")
    record = {"document": "en/a.txt", "question": "where?", "answers": [answer]}
    (tmp_path / "questions.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match="must occur once"):
        labelled_set(tmp_path)
