"""Files to documents: one function per format, found by the file's suffix.

To add a format: write a module with a function of the type `Reader`, and name it in `READERS`.
"""

from __future__ import annotations

from collections.abc import Iterator
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

READERS_VERSION = 3
"""Part of what says whether a file was loaded with the present rules: raise it when a reader gives other text."""

DATA = tuple(".log .yaml .yml .toml .xml .ini .cfg .conf .properties".split())
"""Text that programs write or read; it is read where somebody asks for it."""

CODE = tuple(
    ".py .pyi .js .mjs .cjs .jsx .ts .tsx .java .kt .kts .scala .groovy .c .h .cc .cpp .cxx .hpp .hh .m .mm .cs .go .rs "
    ".swift .php .rb .pl .pm .lua .r .jl .ex .exs .erl .hs .ml .fs .clj .dart .zig .nim .sh .bash .zsh .ps1 .sql "
    ".proto .graphql .vue .svelte .css .scss".split()
)
"""Source code; it too is read where somebody asks for it."""

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
"""Suffix to reader; each may also be compressed (`.txt.gz`). Files that are no text are read in `formats`."""


def readable(name: str) -> bool:
    """Whether a file of that name is listed at all: others are none of the pipeline's business."""
    return _suffix(name) in READERS


@dataclass(slots=True)
class ReadCounts:
    """What became of a file's documents; complete once all have been taken."""

    documents: int = 0
    empty: int = 0
    """Records without text, which are passed over."""
    removed: int = 0
    """NUL and surrogate characters taken out."""
    encoding: str = "utf-8"


def read_documents(
    stream: BinaryIO, name: str, options: ReaderOptions, counts: ReadCounts | None = None
) -> Iterator[Document]:
    """The documents of a file that have text, record formats as a stream; the others are counted.

    Raises FileRejected, for record formats possibly after some documents: callers take a file whole or not at all.
    """
    counts = counts or ReadCounts()
    reader = READERS.get(_suffix(name))
    if reader is None:
        raise FileRejected(f"has none of the suffixes that are read ({', '.join(READERS)}); rename or convert it")
    for document in reader(open_plain(stream, name, options), options):
        counts.encoding = document.encoding
        if not document.text or document.text.isspace():
            counts.empty += 1
            continue
        counts.documents += 1
        counts.removed += document.removed
        yield document
    if not counts.documents:
        raise FileRejected("holds no text; add some, or remove it from the source")


def _suffix(name: str) -> str:
    base = name.rpartition("/")[2].lower().removesuffix(".gz")
    stem, dot, suffix = base.rpartition(".")
    return dot + suffix if stem else ""


__all__ = ["READERS", "READERS_VERSION", "ReadCounts", "Reader", "ReaderOptions", "read_documents", "readable"]
