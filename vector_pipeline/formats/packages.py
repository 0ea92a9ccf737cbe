"""Documents that are archives of XML (Office, ODF, HWPX, EPUB): opened within limits, with their properties."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

from vector_pipeline.errors import FileRejected

# An archive may uncompress to this many times the limit of a file, because XML compresses ten- to twentyfold.
MAX_EXPANSION = 16

# The XML with a document's author and dates is small.
_MAX_PROPERTIES = 256 * 1024

PASSWORD = "is protected by a password; save it without one"

_NAMES = {
    "title": "title",
    "creator": "author",
    "initial-creator": "author",
    "created": "created",
    "creation-date": "created",
    "modified": "modified",
    "date": "modified",
    "language": "language",
}


def open_package(data: bytes, max_bytes: int, what: str) -> zipfile.ZipFile:
    """Open a document as an archive. Raises FileRejected if it is damaged or a bomb.

    `max_bytes` is the limit for a file. `what` is the name of the kind for people.
    """
    try:
        package = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise FileRejected(f"is not a whole {what} file; save it again, or fetch it again") from error
    inside = sum(entry.file_size for entry in package.infolist())
    if inside > MAX_EXPANSION * max_bytes:
        raise FileRejected(
            f"uncompresses to {inside:,} bytes, more than {MAX_EXPANSION} times VECTOR_PIPELINE_MAX_FILE_BYTES; raise "
            "that, or leave it out with VECTOR_PIPELINE_EXCLUDE"
        )
    return package


def part(package: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a part; empty if there is none. Raises FileRejected if it cannot be read."""
    try:
        return package.read(name)
    except KeyError:
        return b""
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise FileRejected(f"is damaged ({name} cannot be read); save it again, or fetch it again") from error
    except RuntimeError as error:
        raise FileRejected(PASSWORD) from error
    except Exception as error:
        if type(error).__module__ == "zlib":
            raise FileRejected(f"is damaged ({name} cannot be read); save it again, or fetch it again") from error
        raise


def has_macros(package: zipfile.ZipFile) -> bool:
    """Whether an Office document holds macros."""
    return any(name.endswith("vbaProject.bin") for name in package.namelist())


def properties(package: zipfile.ZipFile) -> dict[str, Any]:
    """The title, author, dates and language that a document (OOXML, ODF, HWPX) states."""
    for name in ("docProps/core.xml", "meta.xml", "Contents/content.hpf"):
        data = part(package, name)
        if data and len(data) <= _MAX_PROPERTIES:
            return _stated(data)
    return {}


def _stated(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError:
        return found
    for element in root.iter():
        local = element.tag.rpartition("}")[2].lower()
        if local == "meta":
            # HWPX: <opf:meta name="creator" content="text">A. Keeper</opf:meta>
            local = element.get("name", "").lower()
            local = {"createddate": "created", "modifieddate": "modified"}.get(local, local)
        text = (element.text or "").strip()
        if text and (name := _NAMES.get(local)):
            found.setdefault(name, text)
    return found


@contextmanager
def as_file(data: bytes, suffix: str) -> Iterator[str]:
    """A temporary file with these bytes, for libraries that open files by name; yields its path."""
    with TemporaryDirectory() as folder:
        path = Path(folder, f"document{suffix}")
        path.write_bytes(data)
        yield str(path)
