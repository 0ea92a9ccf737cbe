"""Record formats: one document per record, read as a stream. A file with a broken record is rejected whole.

The text and id fields are options; all other fields become metadata. Reasons name the line where a record begins.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import TextStream, clean
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.metadata import Unstorable, document

MAX_ID_CHARACTERS = 1_000

# Where a header has no text field as it is, it is looked for between these: spreadsheets of half of Europe write
# semicolons into .csv.
_DELIMITERS = (",", ";", "\t", "|")


def read_jsonl(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per line that is not blank."""
    texts = TextStream(stream)
    records = _Records(options, "line")
    for number, line in enumerate(texts.lines(), 1):
        if not line.isspace():
            value = _parsed(line.rstrip("\r\n"), f"line {number:,} ", one_line=True)
            yield records.document(value, number, number, texts.encoding)


def read_json(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per record of a list, or the one record that the file is."""
    texts = TextStream(stream)
    value = _parsed("".join(texts.lines()), "", one_line=False)
    records = _Records(options, "record")
    for number, record in enumerate(value if isinstance(value, list) else [value], 1):
        yield records.document(record, number, number, texts.encoding)


def read_csv(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per row; the first row names the fields."""
    yield from _rows(stream, options, ",")


def read_tsv(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per row of tab-separated values; the first row names the fields."""
    yield from _rows(stream, options, "\t")


def _rows(stream: BinaryIO, options: ReaderOptions, delimiter: str) -> Iterator[Document]:
    texts = TextStream(stream)
    records = _Records(options, "line")
    table = _Table(texts.lines(), options.text_field, delimiter, options.max_bytes)
    for number, (line, row) in enumerate(table.rows(), 1):
        yield records.document(row, line, number, texts.encoding)


class _Table:
    """Rows of delimited text as mappings, each with the line that it begins in."""

    def __init__(self, lines: Iterator[str], text_field: str, delimiter: str, max_characters: int) -> None:
        # The module's own limit, 131,072 characters, is no text's; it holds for the whole process.
        csv.field_size_limit(max(csv.field_size_limit(), max_characters))
        self._before = 0
        first = next(lines, "")
        if (separator := first.rstrip("\r\n").lower()).startswith("sep=") and len(separator) == 5:
            # What Excel writes and reads as a hint, and is no row.
            delimiter, self._before, first = separator[4], 1, next(lines, "")
        else:
            candidates = (delimiter, *_DELIMITERS)
            delimiter = next((d for d in candidates if text_field in _header(first, d)), delimiter)
        self._reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
        self._text_field = text_field

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        names: list[str] | None = None
        for line, cells in self._cells():
            if names is None:
                names = self._names(cells, line)
                continue
            extra = cells[len(names) :]
            if len(cells) < len(names) or any(extra):
                raise FileRejected(
                    f"line {line:,} has {len(cells):,} fields and the first line names {len(names):,}; mend the line, "
                    "no record of the file was loaded"
                )
            named = zip(names, cells, strict=False)
            yield (
                line,
                {
                    name or f"column {number}": cell
                    for number, (name, cell) in enumerate(named, 1)
                    # A column without a name and without anything in it is a spreadsheet's.
                    if name or cell
                },
            )

    def _names(self, cells: Sequence[str], line: int) -> list[str]:
        names = [cell.strip() for cell in cells]
        for name in names:
            if name and names.count(name) > 1:
                raise FileRejected(f"line {line:,} names the field '{name[:100]}' twice; rename one of them")
        if self._text_field not in names:
            raise FileRejected(
                f"line {line:,} names no field '{self._text_field}' (it names {_listed(names)}); rename one, or name "
                "the field in VECTOR_PIPELINE_TEXT_FIELD"
            )
        return names

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            line = self._before + self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                unclosed = "unexpected end" in str(error)
                problem = "has a quote that is never closed" if unclosed else f"cannot be read ({error})"
                raise FileRejected(f"line {line:,} {problem}; mend it, no record of the file was loaded") from error
            if cells:
                yield line, cells


def _header(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


class _Records:
    """Records to documents, each of another name than all before it in the file."""

    def __init__(self, options: ReaderOptions, unit: str) -> None:
        self._options = options
        self._unit = unit
        # Hashes of ids to where they stand; and, by number, which records have none and are known by their number.
        self._named: dict[int, int] = {}
        self._numbered = bytearray()

    def document(self, record: Any, position: int, number: int, encoding: str) -> Document:
        where = f"{self._unit} {position:,}"
        if isinstance(record, str):
            text, fields, identity = record, {}, None
        elif isinstance(record, Mapping):
            text = self._text(record, where)
            identity = record.get(self._options.id_field)
            special = (self._options.text_field, self._options.id_field)
            fields = {key: value for key, value in record.items() if key not in special}
        else:
            raise FileRejected(
                f"{where} is no object with the field '{self._options.text_field}'; mend it, no record of the file "
                "was loaded"
            )
        text, removed = clean(text)
        if not text or text.isspace():
            # It is passed over, and takes nobody's name.
            return Document(text, {}, str(number), encoding, removed)
        name = self._name(identity, where, position, number)
        try:
            return document(text, fields, record=name, encoding=encoding, removed=removed)
        except Unstorable as problem:
            raise FileRejected(f"{where} {problem}; mend it, no record of the file was loaded") from problem

    def _text(self, record: Mapping[str, Any], where: str) -> str:
        field = self._options.text_field
        text = record.get(field, self)
        if text is None:
            return ""
        if isinstance(text, str):
            return text
        raise FileRejected(
            f"{where} has no text in the field '{field}' (it has {_listed(list(record))}); mend it, or name the field "
            "in VECTOR_PIPELINE_TEXT_FIELD; no record of the file was loaded"
        )

    def _name(self, identity: Any, where: str, position: int, number: int) -> str:
        name = self._stated(identity, where)
        if name:
            earlier = self._named.setdefault(hash(name), position)
            if earlier == position and name.isdecimal() and name == str(int(name)) and int(name) < len(self._numbered):
                # A number may be what an earlier record without an id goes by.
                earlier = int(name) if self._numbered[int(name)] else position
        else:
            name = str(number)
            earlier = self._named.get(hash(name), position)
            self._numbered.extend(bytes(number + 1 - len(self._numbered)))
            self._numbered[number] = 1
        if earlier != position:
            raise FileRejected(
                f"{where} has the same '{self._options.id_field}' as {self._unit} {earlier:,} ('{name[:100]}'); make "
                "them different, or name another field in VECTOR_PIPELINE_ID_FIELD; no record of the file was loaded"
            )
        return name

    def _stated(self, identity: Any, where: str) -> str:
        if identity is None:
            return ""
        if isinstance(identity, bool) or not isinstance(identity, str | int | float):
            raise FileRejected(
                f"{where} has neither text nor a number in the field '{self._options.id_field}'; mend it, or name "
                "another field in VECTOR_PIPELINE_ID_FIELD; no record of the file was loaded"
            )
        name = clean(str(identity))[0]
        if len(name) > MAX_ID_CHARACTERS:
            raise FileRejected(
                f"{where} has {len(name):,} characters in the field '{self._options.id_field}', more than "
                f"{MAX_ID_CHARACTERS:,}; name another field in VECTOR_PIPELINE_ID_FIELD; no record of the file was "
                "loaded"
            )
        return name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{clean(name[:100])[0]}'" for name in names[:8]) or "no fields"


class _NotJson(ValueError):
    """What Python's parser takes and JSON has not."""


def _parsed(text: str, where: str, *, one_line: bool) -> Any:
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno:,}" if one_line else f"line {error.lineno:,}, column {error.colno:,}"
        problem = f"is not JSON ({error.msg[0].lower()}{error.msg[1:]} at {place})"
    except _NotJson as error:
        problem = str(error)
    except RecursionError:
        problem = "nests deeper than can be read"
    raise FileRejected(f"{where}{problem}; mend it, no record of the file was loaded")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        name = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _NotJson(f"has the field '{clean(name[:100])[0]}' twice in one object")
    return found


def _constant(name: str) -> Any:
    raise _NotJson(f"is not JSON (it holds {name}; null is what JSON has for it)")


def _integer(digits: str) -> int | str:
    # Beyond 64 bits most readers of JSON lose digits; as text all are kept.
    return int(digits) if len(digits) <= 20 and -(2**63) <= int(digits) < 2**64 else digits


def _number(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant, parse_int=_integer, parse_float=_number)
