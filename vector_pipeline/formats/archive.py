"""ZIP archives as folders of files, such as the exports of Notion and Confluence."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.inner import InnerFiles, with_reasons
from vector_pipeline.formats.kinds import kind_of
from vector_pipeline.formats.packages import PASSWORD, open_package, part
from vector_pipeline.text.documents import Document
from vector_pipeline.text.readers.base import ReaderOptions

MAX_MEMBERS = 100_000

# Notion ends the name of each page with its id.
_ID = regex.compile(r"(?: |%20)[0-9a-f]{32}(?=[./)\s]|\Z)")


def read_zip(stream: BinaryIO, options: ReaderOptions) -> Iterator[Document]:
    """Yield the documents of all members of kinds that are read by default, in the order of their names.

    A member that cannot be read is left out, and the first document names it. Raises FileRejected if the archive itself
    is damaged, locked or a bomb.
    """
    archive = open_package(stream.read(), options.max_bytes, "ZIP")
    names = _members(archive)
    inner = InnerFiles(options, options.depth)
    shown = _without_ids(names)
    databases = _databases(names)
    found: list[Document] = []
    for name in names:
        if kind_of(name) is None or name in databases or archive.getinfo(name).file_size > options.max_bytes:
            continue
        for document in inner.documents(shown[name], part(archive, name)):
            found.append(replace(document, text=_ID.sub("", document.text)) if shown[name] != name else document)
    not_read = inner.take_reasons()
    if not found and not_read.count:
        raise FileRejected(f"holds no file that can be read; the first of them: {not_read.first}")
    for number, document in enumerate(found):
        yield document if number else with_reasons(document, "files_not_read", not_read)


def _members(archive: zipfile.ZipFile) -> list[str]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MAX_MEMBERS:
        raise FileRejected(f"holds {len(entries):,} files, more than {MAX_MEMBERS:,}; unpack it in the source instead")
    if any(entry.flag_bits & 1 for entry in entries):
        raise FileRejected(PASSWORD)
    # Hidden files are left out, as in a folder.
    parts = {entry.filename: entry.filename.replace("\\", "/").split("/") for entry in entries}
    return sorted(name for name, of_name in parts.items() if not any(p.startswith((".", "__MACOSX")) for p in of_name))


def _without_ids(names: list[str]) -> dict[str, str]:
    """The names to show: without the ids that Notion adds, if the names stay distinct."""
    shown = {name: _ID.sub("", name) for name in names}
    counts: dict[str, int] = {}
    for name in shown.values():
        counts[name] = counts.get(name, 0) + 1
    return {name: short if counts[short] == 1 else name for name, short in shown.items()}


def _databases(names: list[str]) -> set[str]:
    """The databases of Notion as tables. Their rows are pages in a folder beside them, with the same fields."""
    folders = {_ID.sub("", name.rpartition("/")[0]) for name in names}
    tables = {name: name.removesuffix(".csv").removesuffix("_all") for name in names if name.endswith(".csv")}
    return {name for name, stem in tables.items() if (short := _ID.sub("", stem)) != stem and short in folders}
