"""ZIP archives as folders of files, such as the exports of Notion and Confluence."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import BinaryIO

import regex

from vector_pipeline.errors import FileRejected
from vector_pipeline.formats.inner import InnerFiles, with_reasons
from vector_pipeline.formats.kinds import kind_of
from vector_pipeline.formats.packages import PASSWORD, open_package, part
from vector_pipeline.text.documents import Document
from vector_pipeline.text.encodings.decode import decode
from vector_pipeline.text.readers.base import ReaderOptions

MAX_MEMBERS = 100_000

_NOTHING = "holds no file that can be read; the first of them: "

# The flag of a member whose name is UTF-8.
_UTF_8 = 0x800

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
    legible = _legible(archive)
    shown = _without_ids(names, legible)
    databases = _databases(names)
    found: list[Document] = []
    for name in names:
        if kind_of(name) is None or name in databases or archive.getinfo(name).file_size > options.max_bytes:
            continue
        for document in inner.documents(shown[name], part(archive, name)):
            has_id = shown[name] != legible.get(name, name)
            found.append(replace(document, text=_ID.sub("", document.text)) if has_id else document)
    not_read = inner.take_reasons()
    if not found and not_read.count:
        # Of archives in archives one reason is enough: `a.zip/b.zip/c.txt is …`.
        raise FileRejected(_NOTHING + not_read.first.replace(f" {_NOTHING}", "/"))
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


def _legible(archive: zipfile.ZipFile) -> dict[str, str]:
    """The names that are not marked as UTF-8, decoded.

    Windows writes them in its code page, and macOS in UTF-8. `zipfile` decodes both as code page 437.
    """
    entries = [e.filename for e in archive.infolist() if not e.flag_bits & _UTF_8 and not e.filename.isascii()]
    try:
        raw = {name: name.encode("cp437") for name in entries}
        encoding = decode(b"\n".join(raw.values())).encoding if raw else ""
        return {name: data.decode(encoding) for name, data in raw.items()}
    except (FileRejected, ValueError):
        # Too few letters to tell.
        return {}


def _without_ids(names: list[str], legible: Mapping[str, str]) -> dict[str, str]:
    """The names to show: legible, and without the ids that Notion adds, if the names stay distinct."""
    shown = {name: _ID.sub("", legible.get(name, name)) for name in names}
    counts: dict[str, int] = {}
    for name in shown.values():
        counts[name] = counts.get(name, 0) + 1
    return {name: short if counts[short] == 1 else legible.get(name, name) for name, short in shown.items()}


def _databases(names: list[str]) -> set[str]:
    """The databases of Notion as tables. Their rows are pages in a folder beside them, with the same fields."""
    folders = {_ID.sub("", name.rpartition("/")[0]) for name in names}
    tables = {name: name.removesuffix(".csv").removesuffix("_all") for name in names if name.endswith(".csv")}
    return {name for name, stem in tables.items() if (short := _ID.sub("", stem)) != stem and short in folders}
