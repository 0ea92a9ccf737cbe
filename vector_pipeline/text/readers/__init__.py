"""Files to documents: one function per format, found by the file's suffix.

To add a format: write a module with a function of the type `Reader`, and name it in `READERS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vector_pipeline.errors import FileRejected
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import Reader, ReaderOptions, open_plain
from vector_pipeline.text.readers.code import read_code
from vector_pipeline.text.readers.markup import read_html, read_markdown
from vector_pipeline.text.readers.markups import read_asciidoc, read_org, read_subtitles, read_tex
from vector_pipeline.text.readers.plain import read_text
from vector_pipeline.text.readers.records import read_json, read_jsonl
from vector_pipeline.text.readers.tables import read_csv, read_tsv

NO_TEXT = "holds no text; add some, or remove it from the source"
"""The reason for a file in which nothing is found."""

READERS_VERSION = 3
"""Part of the fingerprint of the rules that a file was loaded with. Raise it when a reader returns other text."""

DATA = tuple(".log .yaml .yml .toml .xml .ini .cfg .conf .properties".split())
"""Text that programs write or read. It is read only if the settings ask for it."""

CODE = tuple(
    ".py .pyi .js .mjs .cjs .jsx .ts .tsx .java .kt .kts .scala .groovy .c .h .cc .cpp .cxx .hpp .hh .m .mm .cs .go .rs "
    ".swift .php .rb .pl .pm .lua .r .jl .ex .exs .erl .hs .ml .fs .clj .dart .zig .nim .sh .bash .zsh .ps1 .sql "
    ".proto .graphql .vue .svelte .css .scss".split()
)
"""Source code. It is read only if the settings ask for it."""

READERS: dict[str, Reader] = {
    ".txt": read_text,
    ".rst": read_text,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".org": read_org,
    ".adoc": read_asciidoc,
    ".asciidoc": read_asciidoc,
    ".tex": read_tex,
    ".srt": read_subtitles,
    ".vtt": read_subtitles,
    **dict.fromkeys(DATA, read_text),
    **dict.fromkeys(CODE, read_code),
}
"""Suffix to reader. Each file may also be compressed (`.txt.gz`). `formats` reads files that are not text."""


def readable(name: str) -> bool:
    """Whether there is a reader for a file name."""
    return _suffix(name) in READERS


@dataclass(slots=True)
class ReadCounts:
    """Counts of a file's documents. They are complete once the caller has taken all documents."""

    documents: int = 0
    empty: int = 0
    """The number of records without text, which are left out."""
    removed: int = 0
    """The number of NUL and surrogate characters that were removed."""
    encoding: str = "utf-8"


def read_documents(
    stream: BinaryIO, name: str, options: ReaderOptions, counts: ReadCounts | None = None
) -> Iterator[Document]:
    """Yield the documents of a file that have text. Record formats are read as a stream. Other documents are counted.

    Raises FileRejected. For record formats it may be raised after some documents; callers load a file whole or not at
    all.
    """
    counts = counts or ReadCounts()
    reader = READERS.get(_suffix(name))
    if reader is None:
        raise FileRejected(f"has none of the suffixes that are read ({', '.join(READERS)}); rename or convert it")
    yield from with_text(reader(open_plain(stream, name, options), options), counts)


def with_text(documents: Iterable[Document], counts: ReadCounts) -> Iterator[Document]:
    """Yield the documents of a file that have text, and count all. Raises FileRejected at the end if none has text."""
    for document in documents:
        counts.encoding = document.encoding
        if not document.text or document.text.isspace():
            counts.empty += 1
            continue
        counts.documents += 1
        counts.removed += document.removed
        yield document
    if not counts.documents:
        raise FileRejected(NO_TEXT)


def _suffix(name: str) -> str:
    base = name.rpartition("/")[2].lower().removesuffix(".gz")
    stem, dot, suffix = base.rpartition(".")
    return dot + suffix if stem else ""


__all__ = [
    "NO_TEXT",
    "READERS",
    "READERS_VERSION",
    "ReadCounts",
    "Reader",
    "ReaderOptions",
    "read_documents",
    "readable",
    "with_text",
]
