"""The streams between the stages: rows become record batches of bounded size, and the same rows again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vector_pipeline.stages.streams import (
    BATCH_CHARACTERS,
    BATCH_ROWS,
    CHUNKS,
    DOCUMENTS,
    TOKEN_BATCHES,
    ChunkRow,
    DocumentRow,
    PlannedText,
    from_reader,
    to_reader,
)
from vector_pipeline.text.documents import content_hash

# The readers leave out NUL and lone surrogates; Arrow takes no lone surrogate.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HASH = st.binary(min_size=16, max_size=16)
NUMBER = st.integers(0, 2**31 - 1)
FILE = (HASH, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT)


def hashed(row: Any) -> Any:
    """The row with the hash of its text, as the stages write it."""
    return row._replace(content_hash=content_hash(row.embedded))


ROWS = st.one_of(
    st.lists(st.builds(DocumentRow, *FILE, TEXT, TEXT)).map(lambda rows: (rows, DocumentRow, DOCUMENTS)),
    st.lists(st.builds(ChunkRow, *FILE, NUMBER, NUMBER, NUMBER, NUMBER, HASH, TEXT, NUMBER).map(hashed)).map(
        lambda rows: (rows, ChunkRow, CHUNKS)
    ),
    st.lists(st.builds(PlannedText, NUMBER, TEXT, HASH, TEXT, NUMBER).map(hashed)).map(
        lambda rows: (rows, PlannedText, TOKEN_BATCHES)
    ),
)


def document(number: int, characters: int) -> DocumentRow:
    return DocumentRow(bytes(16), f"{number}.txt", "1", "utf-8", f"{number}.txt", "x" * characters, "{}")


@given(ROWS)
def test_rows_come_out_as_they_went_in(case: tuple[list[Any], type[Any], pa.Schema]) -> None:
    rows, kind, schema = case
    assert list(from_reader(to_reader(rows, schema), kind)) == rows


@pytest.mark.parametrize(
    ("kind", "schema"), [(DocumentRow, DOCUMENTS), (ChunkRow, CHUNKS), (PlannedText, TOKEN_BATCHES)]
)
def test_the_columns_of_a_schema_are_the_fields_of_its_row(kind: type[NamedTuple], schema: pa.Schema) -> None:
    assert tuple(schema.names) == kind._fields


def test_long_texts_bound_a_batch_by_their_characters() -> None:
    longest = BATCH_CHARACTERS // 3
    batches = list(to_reader([document(n, longest) for n in range(10)], DOCUMENTS))
    sizes = [sum(len(text) for text in batch.column("text").to_pylist()) for batch in batches]
    assert max(sizes) < BATCH_CHARACTERS + longest
    assert len(batches) == 3


def test_short_texts_bound_a_batch_by_their_number() -> None:
    batches = list(to_reader((document(n, 1) for n in range(2 * BATCH_ROWS + 5)), DOCUMENTS))
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 5]


def test_rows_are_taken_only_when_a_batch_is_read() -> None:
    taken = 0

    def rows() -> Iterator[DocumentRow]:
        nonlocal taken
        for number in range(3 * BATCH_ROWS):
            taken += 1
            yield document(number, 1)

    read = from_reader(to_reader(rows(), DOCUMENTS), DocumentRow)
    assert taken == 0
    next(read)
    assert taken == BATCH_ROWS


def test_an_error_in_the_rows_reaches_the_reader_of_the_stream_with_its_type() -> None:
    def rows() -> Iterator[DocumentRow]:
        yield document(0, 1)
        raise ConnectionResetError("the server is gone")

    with pytest.raises(ConnectionResetError, match="the server is gone"):
        list(from_reader(to_reader(rows(), DOCUMENTS), DocumentRow))


@pytest.mark.parametrize(
    ("row", "schema", "columns"),
    [
        (document(1, 5)._replace(places='{"pages": [0]}', outline="[]"), DOCUMENTS, 7),
        (document(1, 5)._replace(places='{"pages": [0]}', outline="[]"), DOCUMENTS, 8),
        (ChunkRow(*document(1, 5)[:7], 0, 0, 5, 1, content_hash("xxxxx"), "a title", 2), CHUNKS, 12),
    ],
)
def test_a_file_of_an_earlier_version_lacks_columns_that_get_their_defaults(
    row: Any, schema: pa.Schema, columns: int
) -> None:
    """Version 0.1.0 wrote neither the places and outline of a document nor the context of a chunk."""
    (batch,) = to_reader([row, row], schema)
    earlier = pa.RecordBatchReader.from_batches(
        pa.schema(list(schema)[:columns]), [batch.select(schema.names[:columns])]
    )
    expected = type(row)(*row[:columns])
    assert list(from_reader(earlier, type(row))) == [expected, expected]
    assert expected != row
