from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.text.chunking.chunker import ChunkingConfig, chunk_document
from vector_pipeline.text.chunking.tokens import tokenizer_for
from vector_pipeline.text.documents import Document

TOKENIZER = tokenizer_for("text-embedding-3-small")

_CELL = st.text(st.sampled_from("abc 가나. 12"), min_size=1, max_size=30).map(lambda text: " ".join(text.split()) or "x")
_TABLE = st.lists(st.lists(_CELL, min_size=2, max_size=4), min_size=2, max_size=30)


def _table(rows: list[list[str]]) -> str:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "| --- |", *body])


def test_rows_stay_whole_and_know_the_header_of_their_table() -> None:
    rows = [["Place", "Fare"], *([f"Island {n}. With sentences. And more of them.", f"{n} Euro"] for n in range(60))]
    text = f"# Fares\n\nBefore the table.\n\n{_table(rows)}\n\nBehind it.\n\n{_table([['Other', 'x'], ['y', 'z']])}"
    chunks = chunk_document(Document(text), TOKENIZER, ChunkingConfig(max_tokens=60))
    inside = [chunk for chunk in chunks if chunk.text.startswith("| Island")]
    assert len(inside) > 10
    assert {chunk.metadata["table_header"] for chunk in inside} == {"| Place | Fare |"}
    assert all(chunk.text.endswith("|") for chunk in inside[:-1])
    assert [chunk for chunk in chunks if "table_header" in chunk.metadata] == inside


@given(_TABLE, st.integers(40, 90))
def test_no_row_that_fits_is_cut(rows: list[list[str]], tokens: int) -> None:
    text = "Text before the table.\n\n" + _table(rows)
    whole = {line for line in text.splitlines() if line.startswith("|")}
    if any(TOKENIZER.count(line) > tokens // 2 for line in whole):
        return
    for chunk in chunk_document(Document(text), TOKENIZER, ChunkingConfig(max_tokens=tokens)):
        assert all(line in whole for line in chunk.text.splitlines() if line.startswith("|"))
        assert text[chunk.start - 1 : chunk.start] in ("", "\n") or not chunk.text.startswith("|")


def test_the_way_back_to_a_header_is_gone_once() -> None:
    text = _table([["a", "b"], *(["x" * 20, "y"] for _ in range(20_000))])
    chunks = chunk_document(Document(text), TOKENIZER, ChunkingConfig(max_tokens=50))
    assert len(chunks) > 3_000
    assert all(chunk.metadata["table_header"] == "| a | b |" for chunk in chunks[1:])
