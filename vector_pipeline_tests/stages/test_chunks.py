"""The stage `chunks` as a plain function: rows in order, offsets into the document's text, and files without text."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.stages.chunks import NO_TEXT, ChunksOutcome, chunk_rows, reject_empty
from vector_pipeline.stages.streams import ChunkRow, DocumentRow
from vector_pipeline.store import manifest
from vector_pipeline.store.connection import Database
from vector_pipeline.text.chunking.chunker import ChunkingConfig
from vector_pipeline.text.chunking.tokens import Tokenizer, tokenizer_for
from vector_pipeline.text.documents import content_hash
from vector_pipeline_tests.support.corpus import key_of, own

SMALL = ChunkingConfig(max_tokens=8)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tokenizer_for("text-embedding-3-small")


def document(path: str, text: str, record: str = "", metadata: str = "{}") -> DocumentRow:
    return DocumentRow(key_of(path), path, "1", "utf-8", f"{path}#{record}" if record else path, text, metadata)


def cut(
    documents: Sequence[DocumentRow], tokenizer: Tokenizer, outcome: ChunksOutcome | None = None, threads: int = 1
) -> list[ChunkRow]:
    return list(chunk_rows(documents, tokenizer, SMALL, outcome or ChunksOutcome(), threads=threads))


@given(texts=st.lists(st.text(max_size=200), max_size=6), threads=st.sampled_from([1, 2]))
def test_chunks_come_in_order_and_are_pieces_of_their_document(
    tokenizer: Tokenizer, texts: list[str], threads: int
) -> None:
    outcome = ChunksOutcome()
    rows = cut([document(f"{n}.txt", text) for n, text in enumerate(texts)], tokenizer, outcome, threads)
    assert [row.source for row in rows] == sorted((row.source for row in rows), key=lambda path: int(path[:-4]))
    for row in rows:
        assert row.text == texts[int(row.source[:-4])][row.start_char : row.end_char]
        assert (row.token_count, row.content_hash) == (tokenizer.count(row.text), content_hash(row.text))
    for path in {row.source for row in rows}:
        indexes = [row.chunk_index for row in rows if row.source == path]
        assert indexes == list(range(len(indexes)))
    assert (outcome.documents, outcome.chunks) == (len(texts), len(rows))
    assert outcome.tokens == sum(row.token_count for row in rows)
    assert outcome.lengths.total() == len(rows)


def test_a_chunk_has_the_metadata_of_its_document_and_its_own(tokenizer: Tokenizer) -> None:
    rows = cut([document("a.md", "# Bees\n\nHoney comes in June.", metadata='{"author": "Kim"}')], tokenizer)
    assert [orjson.loads(row.metadata)["author"] for row in rows] == ["Kim"] * len(rows)
    assert orjson.loads(rows[-1].metadata)["headings"] == ["Bees"]


def test_a_file_is_empty_only_if_none_of_its_documents_has_text(tokenizer: Tokenizer) -> None:
    outcome = ChunksOutcome()
    documents = [
        document("a.jsonl", " ", "1"),
        document("a.jsonl", "honey", "2"),
        document("a.jsonl", "", "3"),
        document("b.jsonl", "\n\n", "1"),
    ]
    cut(documents, tokenizer, outcome)
    assert outcome.empty == {(key_of("b.jsonl"), "1"): "b.jsonl"}


def test_an_empty_file_is_rejected_while_its_arrival_owns_it(database: Database) -> None:
    outcome = ChunksOutcome(empty={(key_of("a.txt"), "1"): "a.txt", (key_of("b.txt"), "1"): "b.txt"})
    with database.connect() as connection:
        own(connection, "A1", ["a.txt", "b.txt"])
        own(connection, "A2", ["b.txt"], fingerprint="2")
        reject_empty(database, "A1", outcome)
        (rejected,) = manifest.files_with_status(connection, "rejected")
    assert (rejected.path, rejected.error) == ("a.txt", NO_TEXT)
