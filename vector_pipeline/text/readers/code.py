"""Source code: each file is one document. It is cut at definitions, whose names become the headings of chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import regex

from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
from vector_pipeline.text.readers.base import ReaderOptions
from vector_pipeline.text.readers.inline_data import without_inline_data
from vector_pipeline.text.readers.metadata import document

# A line with a definition in one of the usual languages: modifiers, the keyword, the name.
_DEFINITION = regex.compile(
    r"""(?mi)^([ \t]*)
    (?:(?:pub(?:\([\w\s:]*\))?|public|private|protected|internal|static|final|abstract|export|default|async|override|open
        |data|sealed|unsafe|const|virtual|inline|extern|partial|local|create|or\ replace)[ ]+)*+
    (?:def|class|interface|trait|struct|enum|union|impl|mod|fn|func|fun|function\*?|sub|module|namespace|object|record
        |protocol|extension|actor|type|table|view|procedure|trigger)
    (?:[ ]*\([\w\s*.&]*\))?[ ]+(?:if\ not\ exists[ ]+)?
    ([A-Za-z_$][\w$.:<>?!-]*)""",
    regex.VERBOSE,
)
# A function of C or a similar language: types and a name, parameters, and a block on this line or the next.
_FUNCTION = regex.compile(r"(?m)^[A-Za-z_][\w:<>,*&~ ]*?[ *&]([A-Za-z_~][\w:~]*)\([^;{}]{0,400}\)[^;{}=\n]*\n?\{")
_ABOVE = regex.compile(r"[ \t]*(?:@|//|#|/?\*|--|\"\"\"|\[)")
_INDENT = 4
_MAX_LINES_ABOVE = 50


def read_code(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """The file as one document with its definitions as outline."""
    decoded = decode(stream.read())
    text, inline_data = without_inline_data(decoded.text)
    made = document(text, {}, encoding=decoded.encoding, removed=decoded.removed, inline_data=inline_data)
    yield replace(made, outline=tuple(_outline(made.text)))


def _outline(text: str) -> Iterator[tuple[int, int, str]]:
    found = [(match.start(), _level(match[1]), match[2].rstrip(":<>?!.")) for match in _DEFINITION.finditer(text)]
    found += [(match.start(), 1, match[1]) for match in _FUNCTION.finditer(text)]
    last = -1
    for start, level, name in sorted(found):
        begins = _with_what_stands_above(text, start)
        if begins > last:
            yield begins, level, name
            last = max(begins, start)


def _level(indent: str) -> int:
    return min(6, 1 + len(indent.expandtabs(_INDENT)) // _INDENT)


def _with_what_stands_above(text: str, start: int) -> int:
    """The beginning of the comments and decorators directly above a definition."""
    for _ in range(_MAX_LINES_ABOVE):
        line = text.rfind("\n", 0, start - 1) + 1 if start else 0
        if line >= start or not _ABOVE.match(text, line, start):
            break
        start = line
    return start
