"""Record formats: one document per record, read as a stream. A broken record rejects the whole file.

Options name the text field and the id field. All other fields become metadata. Reasons name the line where a record
begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import TextStream, clean
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.inline_data import without_inline_data
from vector_pipeline.text.readers.json_values import elements, parse_line
from vector_pipeline.text.readers.metadata import Unstorable, document

MAX_ID_CHARACTERS = 1_000


def read_jsonl(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per line that is not blank."""
    texts = TextStream(stream)
    records = Records(options, "line")
    for number, line in enumerate(texts.lines(), 1):
        if not line.isspace():
            value = parse_line(line.rstrip("\r\n"), f"line {number:,} ")
            yield records.document(value, number, number, texts.encoding)


def read_json(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """One document per record of a list, or one for a file that is a single record."""
    texts = TextStream(stream)
    records = Records(options, "record")
    for number, record in enumerate(elements(texts.blocks()), 1):
        yield records.document(record, number, number, texts.encoding)


class Records:
    """Converts records to documents and checks that their names in the file are unique."""

    def __init__(self, options: ReaderOptions, unit: str) -> None:
        self._options = options
        self._unit = unit
        # Hashes of ids to their positions; and for each number whether a record without an id has it as its name.
        self._named: dict[int, int] = {}
        self._numbered = bytearray()

    def document(self, record: Any, position: int, number: int, encoding: str) -> Document:
        """The document of a record. `position` is its line or number for messages, and `number` counts records from 1.

        Raises FileRejected, which names the position.
        """
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
                f"{where} is no object with the field '{self._options.text_field}'; fix it, no record of the file "
                "was loaded"
            )
        text, removed = clean(text)
        if not text or text.isspace():
            # It is left out, so its name stays free.
            return Document(text, {}, str(number), encoding, removed)
        text, inline_data = without_inline_data(text)
        name = self._name(identity, where, position, number)
        try:
            return document(text, fields, record=name, encoding=encoding, removed=removed, inline_data=inline_data)
        except Unstorable as problem:
            raise FileRejected(f"{where} {problem}; fix it, no record of the file was loaded") from problem

    def _text(self, record: Mapping[str, Any], where: str) -> str:
        field = self._options.text_field
        text = record.get(field, self)
        if text is None:
            return ""
        if isinstance(text, str):
            return text
        raise FileRejected(
            f"{where} has no text in the field '{field}' (it has {listed(list(record))}); fix it, or name the field "
            "in VECTOR_PIPELINE_TEXT_FIELD; no record of the file was loaded"
        )

    def _name(self, identity: Any, where: str, position: int, number: int) -> str:
        name = self._stated(identity, where)
        if name:
            earlier = self._named.setdefault(hash(name), position)
            if earlier == position and name.isdecimal() and name == str(int(name)) and int(name) < len(self._numbered):
                # An earlier record without an id may have this number as its name.
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
                f"{where} has neither text nor a number in the field '{self._options.id_field}'; fix it, or name "
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


def listed(names: Sequence[str]) -> str:
    """The first of some names, for a reason."""
    return ", ".join(f"'{clean(name[:100])[0]}'" for name in names[:8]) or "no fields"
