"""Laws that hold for every text, over arbitrary Unicode."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vector_pipeline.text.chunking.boundaries import find_headings
from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_document, chunk_documents
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline.text.documents import Chunk, Document

TOKENIZER = tokenizer_for("text-embedding-3-small")

WORDS = "a b한 국어。 # - item 1234 😀 é 's 'll お茶 ``` |a|b| ! ? \u0301 👨‍👩‍👧 ² Ⅳ _ <|endoftext|>".split(" ")
PIECES = st.sampled_from([*WORDS, " ", "  ", "\n", "\n\n", "\t", "# H\n", "- item\n", "```\n"])
TEXTS = st.one_of(st.lists(PIECES, max_size=200).map("".join), st.text(max_size=400))


def _check(text: str, chunks: list[Chunk], most: int) -> None:
    covered = bytearray(len(text))
    for chunk in chunks:
        assert chunk.text
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.tokens == TOKENIZER.count(chunk.text) <= most
        covered[chunk.start : chunk.end] = b"\x01" * len(chunk.text)
    assert all(covered[i] or character.isspace() for i, character in enumerate(text))


@settings(max_examples=200)
@given(text=TEXTS, most=st.integers(8, 60), overlap=st.sampled_from([0, 0, 3, 7, 30]))
def test_recursive_chunks_are_exact_and_lose_nothing(text: str, most: int, overlap: int) -> None:
    config = ChunkingConfig(max_tokens=most, overlap=overlap)
    chunks = chunk_document(Document(text), TOKENIZER, config)
    _check(text, chunks, most)
    assert all(one.start < next_.start and one.end < next_.end for one, next_ in pairwise(chunks))
    assert chunks == chunk_document(Document(text), TOKENIZER, config)


@settings(max_examples=100)
@given(text=TEXTS, most=st.integers(8, 60))
def test_paragraph_chunks_are_the_pieces_between_blank_lines(text: str, most: int) -> None:
    chunks = chunk_document(Document(text), TOKENIZER, ChunkingConfig("paragraph", max_tokens=most))
    _check(text, chunks, most)
    whole = [piece for piece in text.split("\n\n") if piece.strip() and TOKENIZER.count(piece) <= most]
    assert [piece for piece in whole if piece not in {chunk.text for chunk in chunks}] == []


def test_headings_are_carried_and_cut_at() -> None:
    text = "# Top\n\n" + "one two three. " * 40 + "\n\n## Inner\n\n" + "four five six. " * 60
    chunks = chunk_document(Document(text), TOKENIZER, ChunkingConfig(max_tokens=200))
    assert chunks[0].metadata == {"headings": ["Top"]}
    assert chunks[-1].metadata == {"headings": ["Top", "Inner"]}
    assert any(chunk.text.startswith("## Inner") for chunk in chunks)


@pytest.mark.parametrize(
    ("line", "title"), [("# C#", "C#"), ("## Closed ##", "Closed"), ("#  Spaced \t", "Spaced"), ("# #", "#")]
)
def test_titles_are_without_the_marks_that_close_them(line: str, title: str) -> None:
    for text in (line, f"{line}\ntext", f"text\n{line}\ntext"):
        assert [heading.title for heading in find_headings(text, [])] == [title]


def test_overlap_repeats_sentences_but_not_across_a_heading() -> None:
    text = "One two three. " * 60 + "\n\n# Next\n\n" + "Four five six. " * 60
    chunks = chunk_document(Document(text), TOKENIZER, ChunkingConfig(max_tokens=100, overlap=20))
    for before, chunk in pairwise(chunks):
        if chunk.text.startswith("# Next"):
            assert chunk.start > before.end
        else:
            assert 0 < TOKENIZER.count(text[chunk.start : before.end]) <= 20
            assert chunk.text.startswith(("One", "Four"))


def test_a_code_block_that_fits_is_kept_whole() -> None:
    code = "```\n" + "line = 1\n" * 30 + "```"
    chunks = chunk_document(
        Document("Text before. " * 30 + "\n\n" + code + "\n\nafter"), TOKENIZER, ChunkingConfig(max_tokens=160)
    )
    assert any(code in chunk.text for chunk in chunks)


def test_threads_give_the_same_chunks_in_the_same_order() -> None:
    documents = [Document(f"Document {n}. " * n) for n in range(1, 40)]
    config = ChunkingConfig(max_tokens=50)
    alone = list(chunk_documents(documents, TOKENIZER, config))
    assert list(chunk_documents(documents, TOKENIZER, config, threads=2)) == alone


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["a" * 300_000, " " * 300_000, "한" * 100_000, "\n" * 300_000, "1" * 200_000, "." * 300_000, "# a\n" * 50_000],
)
def test_monotonous_texts_are_cut_like_others(text: str) -> None:
    for chunk in chunk_document(Document(text), TOKENIZER, ChunkingConfig()):
        assert chunk.tokens <= 400
