"""The streams between the stages, in Arrow: one row for each document, chunk or text to embed.

Each kind of row is a named tuple with an Arrow schema; the columns have the same order. The size of a record batch is
bounded by the characters of its texts, so the memory of a stage does not depend on the length of documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import pyarrow as pa

from vector_pipeline.errors import StorageError
from vector_pipeline.pipeline.stage_files import WRITTEN_AGAIN
from vector_pipeline.text.documents import content_hash

BATCH_CHARACTERS = 4 * 1024 * 1024
BATCH_ROWS = 10_000


class DocumentRow(NamedTuple):
    """A document with its file's fingerprint. It is loaded only if the manifest still has the same fingerprint."""

    source_key: bytes
    source: str
    fingerprint: str
    encoding: str
    document_id: str
    text: str
    metadata: str
    """JSON."""
    places: str = "{}"
    """JSON: the beginnings of its pages or slides."""
    outline: str = "null"
    """JSON: its headings, where they are not written as Markdown writes them."""


class ChunkRow(NamedTuple):
    """A chunk, in the order of the documents and of the text."""

    source_key: bytes
    source: str
    fingerprint: str
    encoding: str
    document_id: str
    text: str
    metadata: str
    """JSON: the document's metadata together with the chunk's own."""
    chunk_index: int
    start_char: int
    end_char: int
    token_count: int
    """Of the chunk's own text."""
    content_hash: bytes
    """Of what is embedded: the context and the text."""
    context: str = ""
    """What stands in front of the text when it is embedded."""
    context_tokens: int = 0

    @property
    def embedded(self) -> str:
        """What is embedded and ranked."""
        return self.context + self.text


class PlannedText(NamedTuple):
    """A text to embed, with the number of its planned request.

    `text` has no prefix, because that is of the space, not of the text; `token_count` counts it.
    """

    batch: int
    space: str
    content_hash: bytes
    text: str
    token_count: int

    @property
    def embedded(self) -> str:
        """What is embedded."""
        return self.text


_FILE = [
    ("source_key", pa.binary(16)),
    ("source", pa.string()),
    ("fingerprint", pa.string()),
    ("encoding", pa.string()),
    ("document_id", pa.string()),
    ("text", pa.large_string()),
    ("metadata", pa.large_string()),
]

DOCUMENTS = pa.schema([*_FILE, ("places", pa.large_string()), ("outline", pa.large_string())])
"""Columns of DocumentRow."""

CHUNKS = pa.schema(
    [
        *_FILE,
        ("chunk_index", pa.int32()),
        ("start_char", pa.int32()),
        ("end_char", pa.int32()),
        ("token_count", pa.int32()),
        ("content_hash", pa.binary(16)),
        ("context", pa.string()),
        ("context_tokens", pa.int32()),
    ]
)
"""Columns of ChunkRow."""

TOKEN_BATCHES = pa.schema(
    [
        ("batch", pa.int32()),
        ("space", pa.string()),
        ("content_hash", pa.binary(16)),
        ("text", pa.large_string()),
        ("token_count", pa.int32()),
    ]
)
"""Columns of PlannedText."""


_SCHEMAS = {DocumentRow: DOCUMENTS, ChunkRow: CHUNKS, PlannedText: TOKEN_BATCHES}

Row = TypeVar("Row", DocumentRow, ChunkRow, PlannedText)


def to_reader(rows: Iterable[DocumentRow | ChunkRow | PlannedText], schema: pa.Schema) -> pa.RecordBatchReader:
    """Rows as a stream of record batches. Each is made when the reader asks for it."""
    return pa.RecordBatchReader.from_batches(schema, _batches(rows, schema))


def _batches(rows: Iterable[DocumentRow | ChunkRow | PlannedText], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    gathered: list[tuple[object, ...]] = []
    characters = 0
    for row in rows:
        gathered.append(row)
        characters += len(row.text)
        if characters >= BATCH_CHARACTERS or len(gathered) >= BATCH_ROWS:
            yield _batch(gathered, schema)
            gathered, characters = [], 0
    if gathered:
        yield _batch(gathered, schema)


def _batch(rows: list[tuple[object, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def from_reader(reader: pa.RecordBatchReader, row: type[Row]) -> Iterator[Row]:
    """The rows of a stream, one record batch in memory at a time.

    Raises StorageError if they are not what a stage writes: the columns, a missing value, or a text of another hash.
    """
    _require_columns(reader.schema, row)
    # A file written by an earlier version may lack a column that has a default.
    lacking = [row._field_defaults[name] for name in row._fields[len(reader.schema) :]]
    for batch in reader:
        if any(column.null_count for column in batch.columns):
            raise _foreign("a value is missing")
        try:
            columns = [column.to_pylist() for column in batch.columns]
        except UnicodeDecodeError as error:
            raise _foreign("a text is not UTF-8") from error
        columns += [[value] * batch.num_rows for value in lacking]
        for made in map(row._make, zip(*columns, strict=True)):
            if not isinstance(made, DocumentRow) and content_hash(made.embedded) != made.content_hash:
                # Its vector would be stored for another text, of any file.
                raise _foreign(f"the text beginning '{made.text[:40]}' has another hash")
            yield made


def _require_columns(found: pa.Schema, row: type[Row]) -> None:
    """Raise StorageError unless a stream has the columns of its rows. Columns with a default may be missing."""
    expected = _SCHEMAS[row]
    columns = [(field.name, field.type) for field in found]
    wanted = [(field.name, field.type) for field in expected]
    without_default = len(wanted) - len(row._field_defaults)
    if len(columns) < without_default or columns != wanted[: len(columns)]:
        raise _foreign("its columns are others")


def _foreign(problem: str) -> StorageError:
    return StorageError(
        f"a file of the stages was not written by vector-pipeline ({problem}): look who may write there; {WRITTEN_AGAIN}"
    )
