"""Read what was loaded: the text of a document, and the chunks around one."""

from __future__ import annotations

from vector_pipeline.errors import ConfigurationError
from vector_pipeline.store.connection import Connection
from vector_pipeline.store.roots import require_root
from vector_pipeline.store.search.documents import (
    DocumentText,
    LoadedDocument,
    chunks_between,
    find_documents,
    read_text,
)
from vector_pipeline.store.search.hybrid import snapshot
from vector_pipeline.store.search.results import PlacedChunk


def read_document(
    connection: Connection, document_id: str, *, root: str | None, start: int, characters: int | None
) -> DocumentText:
    """The text of a document. `Corpus.document` explains the arguments."""
    if start < 0:
        raise ConfigurationError(f"start is {start}; it must be 0 or more")
    if characters is not None and characters < 1:
        raise ConfigurationError(f"characters is {characters}; it must be 1 or more")
    with snapshot(connection):
        document = _require_document(connection, document_id, root)
        if start >= document.characters:
            raise ConfigurationError(
                f"start is {start:,}, but '{document.document_id}' has {document.characters:,} characters"
            )
        return read_text(connection, document, start, characters)


def read_neighbours(
    connection: Connection, document_id: str, chunk_index: int, *, root: str | None, before: int, after: int
) -> list[PlacedChunk]:
    """A chunk with those before and after it. `Corpus.neighbours` explains the arguments."""
    if before < 0 or after < 0:
        raise ConfigurationError(f"before is {before} and after is {after}; both must be 0 or more")
    with snapshot(connection):
        document = _require_document(connection, document_id, root)
        found = chunks_between(connection, document, chunk_index - before, chunk_index + after)
    if all(chunk.chunk_index != chunk_index for chunk in found):
        raise ConfigurationError(
            f"there is no chunk {chunk_index} in '{document.document_id}', which has {document.chunks:,}, from 0 on"
        )
    return found


def _require_document(connection: Connection, document_id: str, root: str | None) -> LoadedDocument:
    """The document with an id. Raises ConfigurationError if there is none, or several roots have one."""
    found = find_documents(connection, document_id, None if root is None else require_root(connection, root))
    if not found:
        place = "" if root is None else f" from '{root}'"
        raise ConfigurationError(
            f"no document {document_id[:200]!r} is loaded{place}; use the document_id of a search result"
        )
    if len(found) > 1:
        roots = ", ".join(f"'{document.root}'" for document in found)
        raise ConfigurationError(f"several roots have a document '{document_id}': name one as root, of {roots}")
    return found[0]
