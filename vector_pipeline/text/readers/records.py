"""Record formats: one document per record, read as a stream. A file with a broken record is rejected whole.

The text and id fields are options; all other fields become metadata.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import orjson

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings import clean, detect, refuse_binary
from vector_pipeline.text.readers.base import ReaderOptions


def read_jsonl(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per line that is not blank."""
    for number, line in enumerate(stream, 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
            refuse_binary(line)
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            reason = "is not UTF-8" if not _is_utf8(line) else f"is not JSON: {error}"
            raise FileRejected(f"line {number:,} {reason}; mend the line, no record of the file was loaded") from error
        yield _document(record, f"line {number:,}", str(number), options)


def read_json(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per record of a list, or the one record that the file is."""
    data = stream.read().removeprefix(b"\xef\xbb\xbf")
    refuse_binary(data)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise FileRejected(f"is not JSON: {error}; mend it, or give it another suffix") from error
    records = value if isinstance(value, list) else [value]
    for number, record in enumerate(records, 1):
        yield _document(record, f"record {number:,}", str(number), options)


def read_csv(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per row; the first row names the fields."""
    yield from _rows(stream, options, ",")


def read_tsv(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per row of tab-separated values; the first row names the fields."""
    yield from _rows(stream, options, "\t")


def _rows(stream: BinaryIO, options: ReaderOptions, delimiter: str) -> Iterator[Document]:
    encoding = _encoding_of(stream)
    # newline='' leaves line ends inside quotes to the csv module.
    reader = csv.DictReader(io.TextIOWrapper(stream, encoding=encoding, newline=""), delimiter=delimiter, strict=True)
    noted = {} if encoding in ("utf-8", "utf-8-sig") else {"encoding": encoding}
    try:
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                raise FileRejected(
                    f"line {reader.line_num:,} has {'more' if None in row else 'fewer'} fields than the first line "
                    "names; mend the line, no record of the file was loaded"
                )
            document = _document(row, f"line {reader.line_num:,}", str(number), options)
            yield Document(document.text, {**document.metadata, **noted}, document.record)
    except (csv.Error, UnicodeDecodeError) as error:
        raise FileRejected(
            f"line {reader.line_num:,} cannot be read ({error}); mend the line, no record of the file was loaded"
        ) from error


def _encoding_of(stream: BinaryIO) -> str:
    """The encoding of a stream, from its beginning; the stream stays where it is."""
    peek = getattr(stream, "peek", None)
    sample = bytes(peek(1 << 20)) if peek else b""
    refuse_binary(sample)
    if sample.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if sample[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        # A character that the sample's end cuts through is no sign of another encoding.
        if error.start < len(sample) - 4:
            return detect(sample[: sample.rfind(b"\n") + 1] or sample, error)
    return "utf-8"


def _document(record: Any, where: str, number: str, options: ReaderOptions) -> Document:
    if isinstance(record, str):
        return Document(clean(record)[0], {}, number)
    if not isinstance(record, Mapping):
        raise FileRejected(
            f"{where} is no object with the field '{options.text_field}'; mend it, no record of the file was loaded"
        )
    text = record.get(options.text_field)
    if not isinstance(text, str):
        named = ", ".join(f"'{key}'" for key in list(record)[:8]) or "no fields"
        raise FileRejected(
            f"{where} has no text in the field '{options.text_field}' (it has {named}); mend it, or name the field in "
            "VECTOR_PIPELINE_TEXT_FIELD; no record of the file was loaded"
        )
    identity = record.get(options.id_field)
    metadata = {
        clean(str(key))[0]: _cleaned(value)
        for key, value in record.items()
        if key not in (options.text_field, options.id_field)
    }
    return Document(clean(text)[0], metadata, number if identity in (None, "") else clean(str(identity))[0])


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)[0]
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, Mapping):
        return {clean(str(key))[0]: _cleaned(item) for key, item in value.items()}
    return value


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
