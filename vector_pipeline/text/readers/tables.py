"""Tables of delimited text (CSV, TSV): one document per row, read as a stream. The first row names the fields."""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import BinaryIO, Self

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import TextStream
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.records import Records, listed

# If the header has no text field with the usual delimiter, these are tried: many European spreadsheets write
# semicolons into .csv.
_DELIMITERS = (",", ";", "\t", "|")

_Row = tuple[int, list[str]]
"""The line in which a row begins, and its cells."""


def read_csv(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per row; the first row names the fields."""
    yield from _documents(stream, options, ",")


def read_tsv(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per row of tab-separated values; the first row names the fields."""
    yield from _documents(stream, options, "\t")


def _documents(stream: BinaryIO, options: ReaderOptions, delimiter: str) -> Iterator[Document]:
    texts = TextStream(stream)
    records = Records(options, "line")
    table = _Table(texts.lines(), options.text_field, delimiter, options.max_bytes)
    for number, (line, row) in enumerate(table.rows(), 1):
        yield records.document(row, line, number, texts.encoding)


class _Table:
    """Rows of delimited text as mappings, each with the line in which it begins."""

    def __init__(self, lines: Iterator[str], text_field: str, delimiter: str, max_characters: int) -> None:
        # The csv module's own limit of 131,072 characters is too small for texts. It applies to the whole process.
        csv.field_size_limit(max(csv.field_size_limit(), max_characters))
        before = 0
        first = next(lines, "")
        if (separator := first.rstrip("\r\n").lower()).startswith("sep=") and len(separator) == 5:
            # Excel writes and reads this line as a hint. It is not a row.
            delimiter, before, first = separator[4], 1, next(lines, "")
        else:
            candidates = dict.fromkeys((delimiter, *_DELIMITERS))
            delimiter = next((d for d in candidates if text_field in _header(first, d)), delimiter)
        rows = _tabbed if delimiter == "\t" else partial(_quoted, delimiter=delimiter)
        self._rows = rows(chain([first], lines), before=before)
        self._text_field = text_field

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        header = next(self._rows, None)
        if header is None:
            return
        names = self._names(header[1], header[0])
        labels = _labels(names)
        for line, cells in self._rows:
            if len(cells) < len(names) or any(cells[len(names) :]):
                raise FileRejected(
                    f"line {line:,} has {len(cells):,} fields and the first line names {len(names):,}; fix the line, "
                    "no record of the file was loaded"
                )
            named = zip(names, labels, cells, strict=False)
            # Spreadsheets write columns without a name and without content. They are left out.
            yield line, {label: cell for name, label, cell in named if name or cell}

    def _names(self, cells: Sequence[str], line: int) -> list[str]:
        names = [cell.strip() for cell in cells]
        for name, times in Counter(filter(None, names)).most_common(1):
            if times > 1:
                raise FileRejected(f"line {line:,} names the field '{name[:100]}' twice; rename one of them")
        if self._text_field not in names:
            raise FileRejected(
                f"line {line:,} names no field '{self._text_field}' (it names {listed(names)}); rename one, or name "
                "the field in VECTOR_PIPELINE_TEXT_FIELD"
            )
        return names


def _labels(names: Sequence[str]) -> list[str]:
    """The names of the columns; `column n` for a column without one, in a spelling that no other column has."""
    taken = set(names)
    labels = []
    for number, name in enumerate(names, 1):
        label = name or f"column {number}"
        while not name and label in taken:
            label = f"({label})"
        labels.append(label)
    return labels


def _header(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _quoted(lines: Iterator[str], *, delimiter: str, before: int) -> Iterator[_Row]:
    """Yield rows with quotes as in RFC 4180. Blank lines are skipped."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = before + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            unclosed = "unexpected end" in str(error)
            problem = "has a quote that is never closed" if unclosed else f"cannot be read ({error})"
            raise FileRejected(f"line {line:,} {problem}; fix it, no record of the file was loaded") from error
        if cells is None:
            return
        if cells:
            yield line, cells


def _tabbed(lines: Iterator[str], *, before: int) -> Iterator[_Row]:
    """Yield rows of tab-separated fields. Excel quotes some fields; most other programs quote none."""
    ahead = _Ahead(lines)
    line, fields = before + 1, 0
    while found := ahead.look(1):
        if _QUOTE.search(found[0]) and not _is_plain(ahead.look(_LOOK_AHEAD), fields):
            began = ahead.taken
            _, cells = next(_quoted(ahead, delimiter="\t", before=line - 1))
            count = ahead.taken - began
        else:
            cells, count = next(ahead).rstrip("\r\n").split("\t"), 1
        if found[0].strip("\r\n"):
            yield line, cells
        line += count
        fields = fields or len(cells)


_QUOTE = regex.compile(r'(?:\A|\t)"')

# The number of lines that are read ahead to decide whether a quote delimits a field or is part of its text.
_LOOK_AHEAD = 16


def _is_plain(lines: Sequence[str], fields: int) -> bool:
    """Whether the quotes in the first of some lines are text and not delimiters.

    They are delimiters if the line then has the right number of fields. If the field would continue over further lines
    that all have the right number of tabs themselves, the quotes are text: a real text of several lines hardly has them.
    """
    if fields < 2:
        return False
    reader = csv.reader(lines, delimiter="\t", strict=True)
    try:
        if len(next(reader)) == fields and reader.line_num == 1:
            return False
    except csv.Error:
        pass
    read = [line.rstrip("\r\n") for line in lines[: max(1, reader.line_num)]]
    return all(line.count("\t") == fields - 1 for line in read if line)


class _Ahead:
    """An iterator of lines that can be read ahead."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._ahead: deque[str] = deque()
        self.taken = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._lines)
        self.taken += 1
        return line

    def look(self, count: int) -> list[str]:
        """The next `count` lines, or all that are left, without taking them."""
        self._ahead.extend(islice(self._lines, max(0, count - len(self._ahead))))
        return list(islice(self._ahead, count))
