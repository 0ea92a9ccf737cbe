"""ZIP archives as folders of files, such as the exports of Notion and Confluence."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.inner import InnerFiles
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
    found: list[Document] = []
    for name in names:
        if kind_of(name) is None or archive.getinfo(name).file_size > options.max_bytes:
            continue
        for document in inner.documents(shown[name], part(archive, name)):
            found.append(replace(document, text=_ID.sub("", document.text)) if shown[name] != name else document)
    if found and inner.not_read:
        noted = {**found[0].metadata, "files_not_read": inner.not_read, "files_not_read_count": inner.total_not_read}
        found[0] = replace(found[0], metadata=noted)
    if not found and inner.not_read:
        raise FileRejected(f"holds no file that can be read; the first of them: {inner.not_read[0]}")
    yield from found


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
