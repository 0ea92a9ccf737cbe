"""A corpus is searched as its users search it: by words, by meaning, by both, filtered, from many threads, and badly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vector_pipeline import Corpus
from vector_pipeline.errors import ConfigurationError, DatabaseError, PipelineError
from vector_pipeline.settings import Settings
from vector_pipeline.store.search.hybrid import Mode
from vector_pipeline.store.search.results import SearchResult
from vector_pipeline_tests.support.pipelines import Ingest

pytestmark = pytest.mark.slow

PAGES = {
    "leave/연차.md": "# 연차 휴가\n\n연차휴가는 일 년에 열다섯 일입니다. 회원은 누구나 쓸 수 있습니다.",
    "leave/days.md": "# Leave\n\nEmployees take fifteen days of leave a year. Unused days lapse in March.",
    "ops/errors.txt": "ERR-4012 means that the queue is full. ERR-4013 means that nobody listens.",
    "ops/release.txt": "Version v1.13.27 repairs the scheduler; parse_config_file reads camelCase names.",
    "ops/other.txt": "The queue drains by itself once workers listen again, which takes some minutes.",
    "poems/fox.txt": "The quick brown fox jumps over the lazy dog. A brown dog is quick to bark at a fox.",
    "poems/dog.txt": "The lazy dog sleeps, brown and quick in dreams.",
}
MODES: tuple[Mode, ...] = ("auto", "hybrid", "meaning")
DOCUMENT = "\n\n".join(f"Paragraph {n} of the long report. " + "It says a little more. " * 12 for n in range(30))


@pytest.fixture
def pages(tmp_path: Path, run: Ingest) -> Path:
    folder = tmp_path / "pages"
    for name, text in {**PAGES, "long/report.txt": DOCUMENT}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run(folder)
    return folder


@pytest.fixture
def searched(pages: Path, settings: Settings) -> Iterator[Corpus]:
    with Corpus.open(settings) as opened:
        yield opened


def sources(results: list[SearchResult]) -> list[str]:
    return [result.source for result in results]


ANSWERS = [
    ("ERR-4012", "ops/errors.txt"),
    ("err-4012", "ops/errors.txt"),
    ("v1.13.27", "ops/release.txt"),
    ("parse_config_file", "ops/release.txt"),
    ("config", "ops/release.txt"),
    ("연차", "leave/연차.md"),
    ("휴가는 며칠인가요?", "leave/연차.md"),
    ("how many days of leave do employees have", "leave/days.md"),
    ('"brown fox"', "poems/fox.txt"),
    ('"lazy dog sleeps"', "poems/dog.txt"),
]


def test_the_answer_is_first(searched: Corpus) -> None:
    for question, source in ANSWERS:
        first, *_ = searched.search(question)
        assert first.source == source, question
        assert first.page_content in PAGES[source]


def test_a_phrase_is_matched_in_order_and_nothing_else_is_given(searched: Corpus) -> None:
    assert sources(searched.search('"quick brown"')) == ["poems/fox.txt"]
    assert sources(searched.search('"brown quick"', mode="words")) == []


def test_an_exact_question_costs_no_vector_where_words_answer_it(searched: Corpus) -> None:
    assert all(result.distance is None for result in searched.search("queue", k=2))
    assert all(result.distance is not None for result in searched.search("what is the queue", k=2))
    assert all(result.distance is None for result in searched.search("what is the queue", k=2, mode="words"))


def test_scores_descend_and_every_mode_gives_what_is_asked_for(searched: Corpus) -> None:
    for mode in MODES:
        results = searched.search("the queue is full", k=7, mode=mode)
        assert len(results) == 7
        assert [r.score for r in results] == sorted((r.score for r in results), reverse=True)
    assert {r.source for r in searched.search("queue", k=7, mode="words")} == {"ops/errors.txt", "ops/other.txt"}


def test_a_result_says_where_its_text_stands(searched: Corpus, pages: Path) -> None:
    (result,) = searched.search("ERR-4013", k=1)
    text = PAGES["ops/errors.txt"]
    assert result.root == str(pages.resolve())
    assert text[result.start_char : result.end_char] == result.page_content
    assert (result.document_id, result.chunk_index) == ("ops/errors.txt", 0)


def test_context_is_the_text_around_without_repetition(searched: Corpus) -> None:
    plain, with_context = (searched.search("Paragraph 17 of the long report", k=1, context=n)[0] for n in (0, 1))
    assert plain.context is None
    assert with_context.context is not None
    assert plain.page_content in with_context.context
    assert len(with_context.context) > 2 * len(plain.page_content)
    # White space between chunks is in none of them.
    squeezed = "".join(DOCUMENT.split())
    assert "".join(with_context.context.split()) in squeezed


def test_a_document_is_read_whole_or_in_parts(searched: Corpus, pages: Path) -> None:
    text = searched.document("long/report.txt").text
    assert "".join(text.split()) == "".join(DOCUMENT.split())
    assert len(text) == len(DOCUMENT.rstrip())
    parts, start = [], 0
    while True:
        part = searched.document("long/report.txt", root=str(pages), start=start, characters=701)
        parts.append(part.text)
        if part.next_start is None:
            break
        assert len(part.text) == 701
        start = part.next_start
    assert "".join(parts) == text
    assert (part.characters, part.source, part.root) == (len(text), "long/report.txt", str(pages))


def test_the_chunks_around_a_result_are_its_neighbours(searched: Corpus) -> None:
    (result,) = searched.search("Paragraph 17 of the long report", k=1)
    around = searched.neighbours(result.document_id, result.chunk_index, before=2)
    assert [chunk.chunk_index - result.chunk_index for chunk in around] == [-2, -1, 0, 1]
    assert (around[2].page_content, around[2].metadata) == (result.page_content, result.metadata)
    whole = searched.neighbours(result.document_id, 0, after=1_000)
    assert len(whole) == searched.document(result.document_id).chunks
    assert searched.neighbours(result.document_id, 0, before=3, after=0) == whole[:1]


def test_what_cannot_be_read_is_named(searched: Corpus) -> None:
    for name in ("no/such.txt", "", "a\0b", "\ud800", "ops/errors.txt#1"):
        with pytest.raises(ConfigurationError, match=r"no document .* is loaded; use the document_id of"):
            searched.document(name)
    report = "long/report.txt"
    with pytest.raises(ConfigurationError, match="nothing was ingested from '/nowhere'"):
        searched.document(report, root="/nowhere")
    wrongs: list[dict[str, Any]] = [{"start": -1}, {"characters": 0}, {"start": 10**12}]
    for wrong in wrongs:
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            searched.document(report, **wrong)
    with pytest.raises(ConfigurationError, match=r"there is no chunk 1000000000000 in 'long/report.txt', which has"):
        searched.neighbours(report, 10**12)
    with pytest.raises(ConfigurationError, match="both must be 0 or more"):
        searched.neighbours(report, 0, before=-1)


def test_two_roots_with_the_same_paths_are_told_apart(
    tmp_path: Path, pages: Path, run: Ingest, settings: Settings
) -> None:
    other = tmp_path / "other"
    (other / "ops").mkdir(parents=True)
    (other / "ops/errors.txt").write_text("ERR-4012 is something else in this house.")
    run(other)
    with Corpus.open(settings) as corpus:
        assert {r.root for r in corpus.search("ERR-4012", k=2)} == {str(pages.resolve()), str(other.resolve())}
        (only,) = corpus.search("ERR-4012", k=1, root=str(other))
        assert only.page_content == "ERR-4012 is something else in this house."
        assert corpus.document("ops/errors.txt", root=str(other)).text == only.page_content
        with pytest.raises(ConfigurationError, match=r"several roots have a document .ops/errors.txt'"):
            corpus.neighbours("ops/errors.txt", 0)
        assert all(r.root == str(other.resolve()) for r in corpus.search("what does the error mean", root=str(other)))
        with pytest.raises(ConfigurationError, match="nothing was ingested from"):
            corpus.search("ERR-4012", root="/nowhere")


def test_a_root_behind_a_link_is_named_by_its_own_path_or_by_the_folder_that_was_given(
    tmp_path: Path, run: Ingest, settings: Settings
) -> None:
    (tmp_path / "revision").mkdir()
    (tmp_path / "revision/bees.txt").write_text("The bees swarm in May.")
    (tmp_path / "current").symlink_to(tmp_path / "revision")
    run(tmp_path / "current")
    with Corpus.open(settings) as corpus:
        for root in (str(tmp_path / "current"), f"{tmp_path}/current/", f"{tmp_path}/revision/../current"):
            (found,) = corpus.search("bees", k=1, root=root)
            assert (found.root, found.source) == (str(tmp_path / "current"), "bees.txt")


def test_filters_hold_on_both_sides(searched: Corpus) -> None:
    for mode in MODES:
        found = searched.search("the queue", k=3, source="poems/*", mode=mode)
        assert sorted(sources(found)) == ["poems/dog.txt", "poems/fox.txt"]
    assert sources(searched.search("days", where={"headings": ["Leave"]})) == ["leave/days.md"]
    assert searched.search("days", where={"headings": ["None"]}) == []
    assert searched.search("days", mode="words", source="poems/*") == []


ODD = [
    "!!!",
    "\N{GRINNING FACE}",
    "the of and",
    "물",
    "a\0b queue",
    "\ud800 queue",
    "'; DROP TABLE chunks; --",
    'an unbalanced " quote',
    "%s %(query)s {} \\ $1",
    ".*(+?)[^",
    "queue 연차 東京 ไทย",
    "queue " * 20_000,
    "x" * 100_000,
    '"a" ' * 25_000,
    "\ufdfa" * 4_000,  # 18 letters each when normalised: more tokens than a model takes
    '""',
    '"!!!"',
    "\N{ZERO WIDTH JOINER}",
]


def test_an_odd_question_is_answered(searched: Corpus) -> None:
    for question in ODD:
        assert len(searched.search(question, k=3)) == 3, question
        searched.search(question, k=3, mode="words")
        assert len(searched.search(question, k=3, mode="hybrid")) == 3, question


def test_what_is_no_question_is_refused_in_one_line(searched: Corpus) -> None:
    for question in ("", "  \n", "\0"):
        with pytest.raises(ConfigurationError, match="the query is empty"):
            searched.search(question)
    wrongs: list[dict[str, Any]] = [
        *({"k": 0}, {"k": 100_000}, {"k": 2.5}, {"mode": "guess"}, {"context": -1}),
        *({"source": "\0"}, {"source": "\ud800"}, {"root": "\0"}, {"where": [1]}, {"where": {"a\0": 1}}),
        *({"where": {"a": ["\0"]}}, {"where": {"a": float("nan")}}, {"where": {"a": {1}}}, {"where": {"a": "\ud800"}}),
    ]
    for wrong in wrongs:
        with pytest.raises(PipelineError) as raised:
            searched.search("queue", **wrong)
        assert "\n" not in str(raised.value)


def test_a_backslash_in_a_filter_is_no_nul(searched: Corpus) -> None:
    assert searched.search("queue", where={"a": "\\u0000"}) == []


def test_many_threads_and_tasks_search_at_once(searched: Corpus) -> None:
    expected = sources(searched.search("the queue is full"))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: sources(searched.search("the queue is full")), range(64)))

    async def tasks() -> list[list[SearchResult]]:
        return await asyncio.gather(*(searched.asearch("the queue is full") for _ in range(20)))

    assert all(one == expected for one in found)
    assert all(sources(one) == expected for one in asyncio.run(tasks()))


def test_texts_are_embedded(searched: Corpus) -> None:
    one, many = searched.embed("bees"), searched.embed(["bees", "bread"])
    assert one.shape == (256,)
    assert many.shape == (2, 256)
    assert many.dtype == np.float32
    np.testing.assert_allclose(one, many[0])


def test_an_empty_database_is_named(settings: Settings) -> None:
    with Corpus.open(settings) as corpus, pytest.raises(DatabaseError, match="nothing was ever embedded"):
        corpus.search("anything")
